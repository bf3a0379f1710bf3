"""Model folders as far as their card looks at them, with the runs that measured them."""

from __future__ import annotations

import json
from pathlib import Path

from ser_hf.labels import LABELS
from tests.predictions import make_predictions, make_run, make_table

ARGUMENTS = {
    "corpora": "ravdess",
    "base_model": "/home/somebody/copy/of/it",
    "base_model_id": "openai/whisper-base",
    "data_dir": "/home/somebody/data",
    "output_dir": "/home/somebody/runs/whisper-actor",
    "hub_token": "<HUB_TOKEN>",
    "num_layers": 1,
    "num_train_epochs": 2,
    "learning_rate": 6e-05,
    "fit_head_first": True,
    "load_best_model_at_end": False,
    "folds": None,
}


MACHINE = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": None},
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "python": "3.11.7",
    "platform": "Linux x86_64",
    "processor": "Some Processor w/ Graphics",
    "cpu_flags": ["avx2"],
}


def save_svm_config(folder: Path) -> Path:
    """A classical model folder as far as its card looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "ser_hf-classical",
        "family": "svm",
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "feature_groups": ["pitch", "energy"],
        "temperature": 1.25,
        "answer_threshold": 0.575,
        "parameters": {"C": 8, "gamma": 0.0005},
        "cross_validation_accuracy": 0.5,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def add_example(folder: Path) -> None:
    scores = dict.fromkeys(LABELS, 0.02) | {"sad": 0.86}
    (folder / "example.flac").write_bytes(b"fLaC")
    (folder / "example.json").write_text(json.dumps({"label": "sad", "scores": scores}))


def neural_run(folder: Path, protocol: str, seed: int = 0, folds: int = 2, **facts) -> Path:
    """A fine-tuning run on ten actors, of the first folds of the protocol only."""
    records = [
        {"index": index, "temperature": 0.5 + index, "seconds": 60.0, "resumed": False} for index in range(folds)
    ]
    defaults = {"command": "train.finetune", "model": "whisper", "arguments": ARGUMENTS, "folds": records}
    make_run(
        folder, make_predictions(make_table(), seed=seed, folds=folds), protocol, **{**defaults, **MACHINE, **facts}
    )
    return folder


def classical_run(folder: Path, protocol: str) -> Path:
    chosen = {"parameters": {"C": 2, "gamma": 0.0005}, "temperature": 1.5, "seconds": 30.0}
    make_run(
        folder,
        make_predictions(make_table(), skill=1.0),
        protocol,
        command="train.baseline",
        arguments={"corpora": "ravdess", "features": "pitch,energy", "seed": 0},
        folds=[{"index": index, **chosen} for index in (0, 1)],
        **MACHINE,
    )
    return folder
