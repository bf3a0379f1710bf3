"""Training on several processes: two of half the batch end where one of the whole batch ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from ser_hf.evaluation.metrics import probability_matrix
from ser_hf.evaluation.runs import read_predictions
from tests.tiny_bases import save_tiny_base

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--window_seconds", "1", "--num_layers", "2", "--num_train_epochs", "2", "--folds", "0,3"]
# What is drawn for a batch as a whole is drawn for each process's part of it.
OPTIONS += ["--mixup_alpha", "0", "--spec_augment", "0", "--disable_tqdm", "true", "--learning_rate", "1e-4"]
OPTIONS += ["--precision", "float32", "--frozen_layers", "1", "--copies", "1", "--corpus_weights", "ravdess=0.5"]
OPTIONS += ["--ema_decay", "0.5", "--hold_out_validation", "false"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base("whisper", tmp_path_factory.mktemp("base"))


def run(launcher: list[str], base: Path, data: Path, batch: int, folder: Path) -> subprocess.CompletedProcess:
    words = ["--base_model", str(base), "--data_dir", str(data), "--per_device_train_batch_size", str(batch), *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "SER_HF_CACHE": f"{folder}.cache"}
    command = [sys.executable, *launcher, "-m", "train.finetune", *words, "--output_dir", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


def test_two_processes_equal_one_of_twice_the_batch(base, corpus_dir, tmp_path):
    # 136 and 144 clips train in these folds: each batch of eight is full.
    for name, launcher, batch in (("alone", [], 8), ("both", TORCHRUN, 4)):
        ended = run(launcher, base, corpus_dir, batch, tmp_path / name)
        assert ended.returncode == 0, ended.stderr[-3000:]
        assert ended.stdout.count("Written to") == 1
    one, two = (read_predictions(tmp_path / name) for name in ("alone", "both"))
    assert len(one) == len(two) == 80
    assert np.allclose(probability_matrix(one)[0], probability_matrix(two)[0], atol=1e-4)
    folders = (tmp_path / "alone/fold3/model", tmp_path / "both/fold3/model", base)
    name = "encoder.layers.1.fc1.weight"
    weights, others, before = (load_file(folder / "model.safetensors")[name].float() for folder in folders)
    change = (weights - before).abs().max()
    assert change > 1e-4
    assert (weights - others).abs().max() < change / 20
    assert not list((tmp_path / "both").glob("fold*/checkpoint-*"))


def test_two_processes_end_when_one_fails(base, corpus_dir, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    ended = run(TORCHRUN, base, corpus_dir, 4, tmp_path / "run")
    assert ended.returncode != 0
    assert "exists and is not empty" in ended.stderr
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["notes.txt"]
