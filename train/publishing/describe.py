"""What a finished model folder says of itself: its evidence, an example with its prediction, and the card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ser_hf.classifier import EmotionClassifier
from ser_hf.hub.card import write_card
from ser_hf.hub.evidence import add_evaluation
from ser_hf.utils.files import write_json

# Made by a speech synthesiser and free of rights (app/examples/README.md), so that it may go with every model.
EXAMPLE_CLIP = Path(__file__).resolve().parents[2] / "app" / "examples" / "plain.flac"
EXAMPLE, ANSWER = "example.flac", "example.json"


def describe_model(folder: Path, runs: Sequence[str | Path], name: str) -> None:
    """Complete a saved model folder, so that it can be published: evidence, the example clip with its scores, the card.

    Args:
        folder: a model that was just saved.
        runs: runs of the same recipe on clips that it was not trained on; the first gives the headline figures.
        name: what the card calls the model.
    """
    for run in runs:
        add_evaluation(folder, run)
    shutil.copyfile(EXAMPLE_CLIP, folder / EXAMPLE)
    prediction = EmotionClassifier.from_pretrained(folder).predict(folder / EXAMPLE).to_dict()
    write_json(folder / ANSWER, {"label": prediction["label"], "scores": prediction["scores"]})
    write_card(folder, name)
