"""What a finished model folder says of itself: the runs that measured it, an example with its answer, and the card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ser_hf.card import write_card
from ser_hf.classifier import EmotionClassifier
from ser_hf.evidence import add_evaluation
from ser_hf.files import write_json

# Made by a speech synthesiser and free of rights (app/examples/README.md), so that it may go with every model.
EXAMPLE_CLIP = Path(__file__).resolve().parents[2] / "app" / "examples" / "plain.flac"
EXAMPLE, ANSWER = "example.flac", "example.json"


def describe_model(folder: Path, runs: Sequence[str | Path], name: str) -> None:
    """Make a saved model a whole model folder, which can be published as it is.

    Args:
        folder: a model that was just saved.
        runs: runs of the same recipe on clips that it did not learn from; the first gives the headline figures.
        name: what the card calls the model.
    """
    for run in runs:
        add_evaluation(folder, run)
    add_example(folder)
    write_card(folder, name)


def add_example(folder: Path) -> None:
    """Put the example clip into a model folder, and what the model answers to it: ``label`` and ``scores``."""
    shutil.copyfile(EXAMPLE_CLIP, folder / EXAMPLE)
    answer = EmotionClassifier.from_pretrained(folder).predict(folder / EXAMPLE).to_dict()
    write_json(folder / ANSWER, {"label": answer["label"], "scores": answer["scores"]})
