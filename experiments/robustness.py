"""Test a run's models on the same clips in noise, over a telephone, cut short, and on sounds without speech.

Examples:

    python -m experiments.robustness runs/svm-actor runs/knn-actor runs/cnn-actor-seed42

Writes two files into each run folder. conditions.json: condition -> accuracy, changed, confidence, unfamiliar,
answered, n. no_speech.json: kind of sound -> sure, confidence, unfamiliar, answered, n. What is in them already is not
measured again, so that an interrupted command can be resumed. Nothing is chosen by them.
"""

from __future__ import annotations

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

from experiments.conditions import CONDITIONS, NO_SPEECH, PAUSES, pauses
from ser_hf.audio import SAMPLE_RATE, AudioError, Recording, load_audio
from ser_hf.classifier import EmotionClassifier
from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.corpora import load_corpus
from ser_hf.evaluation.metrics import probability_matrix
from ser_hf.evaluation.runs import RunError, read_predictions
from ser_hf.features import extract, feature_names
from ser_hf.models.classical import ClassicalModel
from ser_hf.prediction import HARDLY_A_VOICE, UNFAMILIAR, Prediction
from ser_hf.utils.files import write_json
from train.common import chosen_names

CONFIDENT_SHARE = 0.8  # of the predictions on unseen speakers
CONDITIONS_FILE, NO_SPEECH_FILE = "conditions.json", "no_speech.json"
SOUNDS_A_KIND = 20  # for each fold

PredictionOrError = Prediction | AudioError
Found = dict[str, dict[str, Any]]
Samples = dict[tuple[str, str], np.ndarray]


@prints_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 2 when the run or the data do not allow it."""
    arguments = build_parser().parse_args(argv)
    conditions = chosen_names(arguments.conditions, list(CONDITIONS), "--conditions")
    for run, (held_up, sounds) in measure(arguments.runs, arguments.data_dir, conditions).items():
        print(f"{run}: accuracy {_words(held_up, 'accuracy')}; confident on {_words(sounds, 'sure')}")


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.robustness", doc=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders whose fold*/model are still there"
    )
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)"
    )
    parser.add_argument(
        "--conditions",
        metavar="NAMES",
        help='conditions, separated by commas, as in "noise 10 dB,telephone" (default: all)',
    )
    return parser


def _words(found: Found, figure: str) -> str:
    return ", ".join(f"{name} {100 * row[figure]:.1f} %" for name, row in found.items())


class FeatureMemory:
    """Engineered features of clips, group by group, so that several models may ask for the same ones.

    They take far longer than any classical model's prediction, and there are tens of thousands of changed clips.
    """

    def __init__(self) -> None:
        self._groups: dict[bytes, dict[str, np.ndarray]] = {}

    def recall(self, samples: np.ndarray, groups: Sequence[str]) -> np.ndarray:
        """What `ser_hf.features.extract` returns."""
        known = self._groups.setdefault(hashlib.sha256(np.ascontiguousarray(samples).data).digest(), {})
        missing = [group for group in groups if group not in known]
        if missing:
            ends = np.cumsum([len(feature_names([group])) for group in missing])[:-1]
            known.update(zip(missing, np.split(extract(samples, missing), ends), strict=True))
        return np.concatenate([known[group] for group in groups])


class RecallingModel:
    """A classical model whose features come from a `FeatureMemory`; with the same predictions."""

    def __init__(self, model: ClassicalModel, memory: FeatureMemory) -> None:
        self.model, self.memory, self.labels = model, memory, model.labels

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `ClassicalModel.predict_proba`."""
        groups = self.model.config["feature_groups"]
        rows = np.array([self.memory.recall(clip, groups) for clip in clips], dtype=np.float32)
        return self.model.predict_features(pd.DataFrame(rows, columns=feature_names(groups)))


class TestedRun:
    """A run with the model of each of its folds.

    Attributes:
        folder: the run folder.
        frame: its predictions, one row per test clip.
        classifiers: the model of each fold.

    Raises:
        RunError: a fold's model is gone.
    """

    def __init__(self, folder: Path, memory: FeatureMemory) -> None:
        self.folder, self.frame = folder, read_predictions(folder)
        self.classifiers = {fold: self._load(fold, memory) for fold in sorted(self.frame["fold"].unique())}

    def _load(self, fold: int, memory: FeatureMemory) -> EmotionClassifier:
        folder = self.folder / f"fold{fold}" / "model"
        if not folder.is_dir():
            raise RunError(f"{folder} is gone: the models of the run are needed; run it again")
        classifier = EmotionClassifier.from_pretrained(folder)
        if isinstance(classifier.model, ClassicalModel):
            classifier.model = RecallingModel(classifier.model, memory)
        return classifier


def measure(
    folders: Sequence[Path], data_dir: str | None = None, conditions: Sequence[str] | None = None
) -> dict[Path, tuple[Found, Found]]:
    """Measure under every condition what was not measured yet.

    A changed clip is made once for all runs: making it takes as long as most predictions.

    Args:
        folders: of runs with their models.
        data_dir: see `ser_hf.corpora.load_corpus`.
        conditions: those of `CONDITIONS` to measure (default: all); what was measured before stays.

    Returns:
        For each run the contents of its two files. Per condition: ``accuracy`` over all clips (a refused clip counts as
        wrong), the share ``changed`` with another label than as recorded, or none, mean ``confidence`` of the
        predictions, the share of them that is ``unfamiliar`` (out of domain; None without such a score), the share
        ``answered`` (not refused), and ``n`` clips. Per kind of sound without speech: the share ``sure`` that is not
        far out of domain and predicted as confidently as the most confident four fifths of the run's clips, and the
        last four.

    Raises:
        RunError: a fold's model is gone, a clip is not in the corpora, or a file cannot be read.
    """
    memory = FeatureMemory()
    runs = [TestedRun(folder, memory) for folder in folders]
    found = {folder: (read_found(folder / CONDITIONS_FILE), read_found(folder / NO_SPEECH_FILE)) for folder in folders}
    samples = read_clips(pd.concat([run.frame for run in runs]), data_dir)
    waiting_for = {name: [run for run in runs if name not in found[run.folder][0]] for name in conditions or CONDITIONS}
    total = sum(len(run.frame) for waiting in waiting_for.values() for run in waiting)
    with tqdm(total=total, unit="clip", desc="Predicting") as bar:
        for name, waiting in waiting_for.items():
            clips = cache(partial(changed_clip, samples, name))
            for run in waiting:
                held_up = found[run.folder][0]
                held_up[name] = measure_condition(run, clips, bar)
                write_json(run.folder / CONDITIONS_FILE, {key: held_up[key] for key in CONDITIONS if key in held_up})
    for run in runs:
        sounds = found[run.folder][1]
        if set(NO_SPEECH) - set(sounds):
            sounds |= measure_no_speech(run, samples)
            write_json(run.folder / NO_SPEECH_FILE, sounds)
    return found


def is_measured(folder: Path) -> bool:
    """Whether a run was measured under every condition."""
    files = ((CONDITIONS_FILE, CONDITIONS), (NO_SPEECH_FILE, NO_SPEECH))
    return not any(set(names) - set(read_found(folder / file)) for file, names in files)


def read_found(path: Path) -> Found:
    """What was measured of a run before; nothing where there is no such file yet.

    Raises:
        RunError: there is one, and it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it to measure again") from error


def read_clips(frame: pd.DataFrame, data_dir: str | None) -> Samples:
    """The samples of every clip of a table of predictions, by corpus and clip."""
    found: Samples = {}
    for corpus in frame["corpus"].unique():
        table = load_corpus(corpus, data_dir)
        rows = zip(table["clip"], table["audio"], strict=True)
        wanted = set(frame.loc[frame["corpus"] == corpus, "clip"])
        found |= {(corpus, clip): load_audio(audio) for clip, audio in rows if clip in wanted}
        missing = sorted(wanted - {clip for name, clip in found if name == corpus})
        if missing:
            raise RunError(f"{corpus} has no clip {missing[0]}, which the run was tested on")
    return found


def changed_clip(samples: Samples, condition: str, corpus: str, clip: str) -> Recording:
    """A clip under a condition; what is random in it follows from the two names, so that all models get the same."""
    rng = np.random.default_rng([zlib.crc32(condition.encode()), zlib.crc32(clip.encode())])
    return Recording(CONDITIONS[condition](samples[corpus, clip], rng), SAMPLE_RATE, clip)


def measure_condition(run: TestedRun, clips: Callable[[str, str], Recording], bar: tqdm) -> dict[str, Any]:
    """Predict each fold's own test clips, by corpus and clip as ``clips`` gives them, with its model."""
    found: list[PredictionOrError] = []
    # In the order of the folds, as they are predicted.
    frame = pd.concat([part for _, part in run.frame.groupby("fold")])
    for fold, part in frame.groupby("fold"):
        for one in run.classifiers[fold].predict_many(clips(row.corpus, row.clip) for row in part.itertuples()):
            found.append(one)
            bar.update()
    labels = np.array([None if isinstance(one, AudioError) else one.label for one in found])
    right, same = labels == frame["emotion"].to_numpy(str), labels == frame["predicted"].to_numpy(str)
    return {"accuracy": float(right.mean()), "changed": float(1 - same.mean()), **_figures(found)}


def measure_no_speech(run: TestedRun, samples: Samples) -> Found:
    """Predict sounds without speech with each fold's model, pauses of its own test clips among them."""
    threshold = float(np.quantile(probability_matrix(run.frame)[0].max(axis=1), 1 - CONFIDENT_SHARE))
    found = {}
    for kind, make in NO_SPEECH.items():
        predicted: list[PredictionOrError] = []
        for fold, part in run.frame.groupby("fold"):
            if kind == PAUSES:
                # Spread over the speakers, who stand one after the other.
                clips = part.iloc[:: max(len(part) // SOUNDS_A_KIND, 1)].head(SOUNDS_A_KIND)
                sounds = [pauses(samples[row.corpus, row.clip]) for row in clips.itertuples()]
            else:
                seeds = ([zlib.crc32(kind.encode()), fold, number] for number in range(SOUNDS_A_KIND))
                sounds = [make(np.random.default_rng(seed)) for seed in seeds]
            predicted += run.classifiers[fold].predict_many(Recording(sound, SAMPLE_RATE, kind) for sound in sounds)
        sure = [_is_confident(one, threshold) for one in predicted]
        found[kind] = {"sure": float(np.mean(sure)), **_figures(predicted)}
    return found


def _is_confident(one: PredictionOrError, threshold: float) -> bool:
    if isinstance(one, AudioError) or (one.distance is not None and one.distance > HARDLY_A_VOICE):
        return False
    return one.scores[one.label] >= threshold


def _figures(found: Sequence[PredictionOrError]) -> dict[str, Any]:
    predictions = [one for one in found if not isinstance(one, AudioError)]
    far = [one.distance > UNFAMILIAR for one in predictions if one.distance is not None]
    return {
        "confidence": float(np.mean([one.scores[one.label] for one in predictions])) if predictions else None,
        "unfamiliar": float(np.mean(far)) if far else None,
        "answered": len(predictions) / len(found),
        "n": len(found),
    }


if __name__ == "__main__":
    sys.exit(main())
