"""What a process does that is not the first; `make qa` trains on two."""

from __future__ import annotations

from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base
from train import finetune
from train.finetune_arguments import FinetuneTrainingArguments


def test_second_process_writes_no_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FinetuneTrainingArguments, "process_index", 1)
    make_ravdess(tmp_path / "data" / "ravdess", emotions=("happy", "sad"), seconds=0.5)
    words = ["--base_model", str(save_tiny_base("whisper", tmp_path / "base")), "--data_dir", str(tmp_path / "data")]
    words += ["--window_seconds", "1", "--num_layers", "1", "--max_steps", "1", "--folds", "0", "--report_to", "none"]
    assert finetune.main([*words, "--output_dir", str(tmp_path / "run")]) == 0
    assert {path.name for path in tmp_path.glob("run/**/*") if path.is_file()} == {"rng_state.pth"}  # its own
    assert "Written to" not in capsys.readouterr().out
