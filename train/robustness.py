"""Measure how a run's models hold up: the same test clips in noise, over a telephone, cut short, and so on.

python -m train.robustness runs/svm-actor runs/knn-actor runs/cnn-actor-seed42

Writes conditions.json into each run folder: condition -> accuracy, changed, confidence, answered, n. What is in that
file already is not measured again: a command that broke off goes on, and who deletes it begins anew. Nothing is chosen
by it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import cache, partial
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


class TestedRun:
    """A run with the model of each of its folds, to be asked again.

    Attributes:
        folder: the run folder.
        frame: its predictions, one row a test clip.
        classifiers: the model of each fold.
        found: what was measured before, condition by condition.

    Raises:
        RunError: a fold's model is gone, or the file of what was measured cannot be read.
    """

    def __init__(self, folder: Path, memory: FeatureMemory) -> None:
        self.folder, self.frame = folder, read_predictions(folder)
        self.classifiers = {fold: self._load(fold, memory) for fold in sorted(self.frame["fold"].unique())}
        self.found = read_conditions(folder)

    def _load(self, fold: int, memory: FeatureMemory) -> EmotionClassifier:
        folder = self.folder / f"fold{fold}" / "model"
        if not folder.is_dir():
            raise RunError(f"{folder} is gone: the models of a run are needed to ask them again; run it anew")
        classifier = EmotionClassifier.from_pretrained(folder)
        if isinstance(classifier.model, ClassicalModel):
            classifier.model = RecallingModel(classifier.model, memory)
        return classifier

    def ask(self, condition: str, hear: Callable[[str, str], Recording], bar: tqdm) -> None:
        """Let each fold's model answer its own test clips under a condition, and write down what came of it."""
        answers: list[tuple[str, str, str | None, float | None]] = []
        for fold, part in self.frame.groupby("fold"):
            clips = (hear(row.corpus, row.clip) for row in part.itertuples())
            predictions = self.classifiers[fold].predict_many(clips)
            for row, answer in zip(part.itertuples(), predictions, strict=True):
                label, sure = (
                    (None, None) if isinstance(answer, AudioError) else (answer.label, answer.scores[answer.label])
                )
                answers.append((row.emotion, row.predicted, label, sure))
                bar.update()
        self.found[condition] = _summed(answers)
        write_json(self.folder / CONDITIONS_FILE, {name: self.found[name] for name in CONDITIONS if name in self.found})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0, or 2 when the run or the data do not allow it)."""
    parser = argparse.ArgumentParser(prog="python -m train.robustness", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders whose fold*/model are still there")
    parser.add_argument("--data_dir", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)")
    arguments = parser.parse_args(argv)
    try:
        for run, found in measure(arguments.runs, arguments.data_dir).items():
            print(f"{run}: " + ", ".join(f"{name} {100 * row['accuracy']:.1f} %" for name, row in found.items()))
    except (RunError, CorpusError, ModelError, AudioError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(folders: Sequence[Path], data_dir: str | None = None) -> dict[Path, dict[str, dict[str, Any]]]:
    """Let the models of some runs answer their own test clips under every condition that was not measured yet.

    A changed clip is made once for all runs, for making it takes as long as most models' answer to it.

    Args:
        folders: of runs with their models.
        data_dir: see `ser_hf.corpora.load_corpus`.

    Returns:
        For each run what its ``conditions.json`` then holds: condition -> ``accuracy`` over all clips (what gets no
        answer counts as wrong), the share ``changed`` that gets another label than as recorded, or none, mean
        ``confidence`` of the answers, the share ``answered``, and ``n`` clips.

    Raises:
        RunError: a fold's model is gone, or a clip is not in the corpora.
    """
    memory = FeatureMemory()
    runs = [TestedRun(folder, memory) for folder in folders]
    samples = read_clips(pd.concat([run.frame for run in runs]), data_dir)
    asked = {name: [run for run in runs if name not in run.found] for name in CONDITIONS}
    total = sum(len(run.frame) for waiting in asked.values() for run in waiting)
    with tqdm(total=total, unit="clip", desc="Asking") as bar:
        for name, waiting in asked.items():
            hear = cache(partial(changed_clip, samples, name))
            for run in waiting:
                run.ask(name, hear, bar)
    return {run.folder: run.found for run in runs}


def read_conditions(folder: Path) -> dict[str, dict[str, Any]]:
    """What was measured of a run, condition by condition; nothing where there is no file yet.

    Raises:
        RunError: there is one, and it cannot be read.
    """
    path = folder / CONDITIONS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it to measure anew") from error


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


def changed_clip(samples: dict[tuple[str, str], np.ndarray], condition: str, corpus: str, clip: str) -> Recording:
    """A clip under a condition; what is random in it follows from the two names, so that all models hear the same."""
    rng = np.random.default_rng([zlib.crc32(condition.encode()), zlib.crc32(clip.encode())])
    return Recording(CONDITIONS[condition](samples[corpus, clip], rng), SAMPLE_RATE, clip)


def _summed(answers: list[tuple[str, str, str | None, float | None]]) -> dict[str, Any]:
    """The figures of clips of which each has an emotion, the label as recorded, the label now and its probability."""
    sure = [value for *_, value in answers if value is not None]
    return {
        "accuracy": float(np.mean([label == emotion for emotion, _, label, _ in answers])),
        "changed": float(np.mean([label != recorded for _, recorded, label, _ in answers])),
        "confidence": float(np.mean(sure)) if sure else None,
        "answered": len(sure) / len(answers),
        "n": len(answers),
    }


if __name__ == "__main__":
    sys.exit(main())
