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
SMALL = ["--window_seconds", "1", "--num_layers", "2", "--num_train_epochs", "2", "--folds", "0,3"]
# What is drawn for a batch as a whole is drawn for each process's part of it.
SMALL += ["--mixup_alpha", "0", "--spec_augment", "0", "--disable_tqdm", "true", "--learning_rate", "1e-4"]
SMALL += ["--precision", "float32"]
CACHED = ["--frozen_layers", "1", "--copies", "2", "--corpus_weights", "ravdess=0.5", "--ema_decay", "0.5"]
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # Without GPUs, too, it is this flag that makes it begin several processes, unless there is MPI.
    "accelerate": ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"],
}


@pytest.fixture(scope="module")
def common(corpus_dir, tmp_path_factory):
    base = save_tiny_base("whisper", tmp_path_factory.mktemp("base"))
    return ["-m", "train.finetune", "--base_model", str(base), "--data_dir", str(corpus_dir), *SMALL]


def run(launcher: list[str], words: list[str], batch: int, folder: Path) -> str:
    command = [sys.executable, *launcher, *words, "--per_device_train_batch_size", str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "SER_HF_CACHE": f"{folder}.cache"}
    ended = subprocess.run(
        [*command, "--output_dir", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [("torchrun", []), ("accelerate", [*CACHED, "--hold_out_validation", "false"])],
)
def test_two_processes_equal_one_of_twice_the_batch(common, tmp_path, launcher, options):
    # 136 and 144 clips train in these folds: each batch of eight is full.
    for name, processes, batch in (("alone", [], 8), ("both", LAUNCHERS[launcher], 4)):
        assert run(processes, [*common, *options], batch, tmp_path / name).count("Written to") == 1
    one, two = (read_predictions(tmp_path / name) for name in ("alone", "both"))
    assert len(one) == len(two) == 80
    assert np.allclose(probability_matrix(one)[0], probability_matrix(two)[0], atol=1e-4)
    base = Path(common[common.index("--base_model") + 1])
    folders = (tmp_path / "alone/fold3/model", tmp_path / "both/fold3/model", base)
    name = "encoder.layers.1.fc1.weight"
    weights, others, before = (load_file(folder / "model.safetensors")[name].float() for folder in folders)
    change = (weights - before).abs().max()
    assert change > 1e-4
    assert (weights - others).abs().max() < change / 20
    assert not list((tmp_path / "both").glob("fold*/checkpoint-*"))


@pytest.mark.slow
def test_two_processes_end_with_one_error(common, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(AssertionError, match="exists and is not empty"):
        run(LAUNCHERS["torchrun"], common, 4, tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["notes.txt"]
