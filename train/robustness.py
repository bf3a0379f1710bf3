"""Measure how a run's models hold up: the same test clips in noise, over a telephone, cut short, and so on.

python -m train.robustness runs/svm-actor runs/knn-actor runs/cnn-actor-seed42

Writes conditions.json into each run folder: condition -> accuracy, confidence, answered, n. Nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ser_hf.audio import SAMPLE_RATE, AudioError, Recording, load_audio
from ser_hf.classifier import EmotionClassifier
from ser_hf.conditions import CONDITIONS
from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.features import extract, feature_names
from ser_hf.models import ModelError
from ser_hf.models.classical import ClassicalModel
from ser_hf.runs import RunError, read_predictions, write_json

CONDITIONS_FILE = "conditions.json"


class FeatureMemory:
    """Engineered features of clips, group by group, so that several models may ask for the same ones.

    They take far longer than any classical model's answer, and there are tens of thousands of changed clips.
    """

    def __init__(self) -> None:
        self._groups: dict[bytes, dict[str, np.ndarray]] = {}

    def recall(self, samples: np.ndarray, groups: Sequence[str]) -> np.ndarray:
        """What `ser_hf.features.extract` returns."""
        known = self._groups.setdefault(hashlib.sha256(np.ascontiguousarray(samples)).digest(), {})
        missing = [group for group in groups if group not in known]
        if missing:
            ends = np.cumsum([len(feature_names([group])) for group in missing])[:-1]
            known.update(zip(missing, np.split(extract(samples, missing), ends), strict=True))
        return np.concatenate([known[group] for group in groups])


class RecallingModel:
    """A classical model whose features come from a `FeatureMemory`; it answers as the model itself does."""

    def __init__(self, model: ClassicalModel, memory: FeatureMemory) -> None:
        self.model, self.memory, self.labels = model, memory, model.labels

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `ClassicalModel.predict_proba`."""
        groups = self.model.config["feature_groups"]
        rows = np.array([self.memory.recall(clip, groups) for clip in clips], dtype=np.float32)
        return self.model.predict_features(pd.DataFrame(rows, columns=feature_names(groups)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0, or 2 when the run or the data do not allow it)."""
    parser = argparse.ArgumentParser(prog="python -m train.robustness", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders whose fold*/model are still there")
    parser.add_argument("--data_dir", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)")
    arguments = parser.parse_args(argv)
    memory = FeatureMemory()
    try:
        for run in arguments.runs:
            found = measure(run, arguments.data_dir, memory)
            write_json(run / CONDITIONS_FILE, found)
            print(f"{run}: " + ", ".join(f"{name} {100 * row['accuracy']:.1f} %" for name, row in found.items()))
    except (RunError, CorpusError, ModelError, AudioError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(run: Path, data_dir: str | None = None, memory: FeatureMemory | None = None) -> dict[str, dict[str, Any]]:
    """Let each fold's model answer its own test clips under every condition.

    Args:
        run: folder of a run with its models.
        data_dir: see `ser_hf.corpora.load_corpus`.
        memory: shared by the runs that are measured one after the other.

    Returns:
        Condition -> ``accuracy`` over all clips (what gets no answer counts as wrong), mean ``confidence`` of the
        answers, the share ``answered``, and ``n`` clips.

    Raises:
        RunError: a fold's model is gone, or a clip is not in the corpora.
    """
    memory = FeatureMemory() if memory is None else memory
    frame = read_predictions(run)
    samples = read_clips(frame, data_dir)
    answers: dict[str, list[tuple[bool, float | None]]] = {name: [] for name in CONDITIONS}
    with tqdm(total=len(frame) * len(CONDITIONS), unit="clip", desc=run.name) as bar:
        for fold, part in frame.groupby("fold"):
            folder = run / f"fold{fold}" / "model"
            if not folder.is_dir():
                raise RunError(f"{folder} is gone: the models of a run are needed to ask them again; run it anew")
            classifier = EmotionClassifier.from_pretrained(folder)
            if isinstance(classifier.model, ClassicalModel):
                classifier.model = RecallingModel(classifier.model, memory)
            for name in CONDITIONS:
                clips = (changed(samples[row.corpus, row.clip], name, row.clip) for row in part.itertuples())
                for emotion, answer in zip(part["emotion"], classifier.predict_many(clips), strict=True):
                    failed = isinstance(answer, AudioError)
                    sure = None if failed else answer.scores[answer.label]
                    answers[name].append((not failed and answer.label == emotion, sure))
                    bar.update()
    return {name: _summed(found) for name, found in answers.items()}


def read_clips(frame: pd.DataFrame, data_dir: str | None) -> dict[tuple[str, str], np.ndarray]:
    """The samples of every clip of a table of predictions, by corpus and clip."""
    found = {}
    for corpus in frame["corpus"].unique():
        table = load_corpus(corpus, data_dir)
        rows = zip(table["clip"], table["audio"], strict=True)
        wanted = set(frame.loc[frame["corpus"] == corpus, "clip"])
        found |= {(corpus, clip): load_audio(audio) for clip, audio in rows if clip in wanted}
        missing = sorted(wanted - {clip for name, clip in found if name == corpus})
        if missing:
            raise RunError(f"{corpus} has no clip {missing[0]}, which the run was tested on")
    return found


def changed(samples: np.ndarray, condition: str, clip: str) -> Recording:
    """A clip under a condition; what is random in it follows from the two names, so that all models hear the same."""
    rng = np.random.default_rng([zlib.crc32(condition.encode()), zlib.crc32(clip.encode())])
    return Recording(CONDITIONS[condition](samples, rng), SAMPLE_RATE, clip)


def _summed(found: list[tuple[bool, float | None]]) -> dict[str, Any]:
    sure = [value for _, value in found if value is not None]
    return {
        "accuracy": float(np.mean([right for right, _ in found])),
        "confidence": float(np.mean(sure)) if sure else None,
        "answered": len(sure) / len(found),
        "n": len(found),
    }


if __name__ == "__main__":
    sys.exit(main())
