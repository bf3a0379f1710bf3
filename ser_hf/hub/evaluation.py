"""One run that measured a model: its data, and the words that the model card takes from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_hf.errors import SerHfError
from ser_hf.evaluation import markdown
from ser_hf.evaluation.metrics import evaluate_predictions, probability_matrix
from ser_hf.evaluation.runs import RUN, RunError, read_predictions, read_run_json
from ser_hf.evaluation.statistics import is_right
from ser_hf.protocols import PROTOCOLS, Protocol

EVALUATION = "evaluation"  # the folder of a model folder


class CardError(SerHfError):
    """A model folder or run that no card can be written from; the message names it and says what is wrong."""


@dataclass(frozen=True)
class Evaluation:
    """One run that measured a model, as its model folder keeps it.

    Attributes:
        name: of the run, and of its folder below ``evaluation/``.
        run: what its ``run.json`` says.
        frame: its table of predictions.
    """

    name: str
    run: dict[str, Any]
    frame: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Read a run folder.

        Raises:
            CardError: it cannot be read, or its run did not end.
        """
        try:
            run, frame = read_run_json(folder), read_predictions(folder)
        except RunError as error:
            raise CardError(str(error)) from error
        if "protocol" not in run:
            raise CardError(f"{folder / RUN} names no protocol: did the run end?")
        return cls(folder.name, run, frame)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The figures of `evaluate_predictions`."""
        return evaluate_predictions(self.frame)

    @property
    def protocol(self) -> str:
        return self.run["protocol"]

    @property
    def definition(self) -> Protocol:
        """What is known of its protocol; one that is not known counts as speaker-dependent."""
        unknown = Protocol(f"protocol {self.protocol}", f"protocol {self.protocol!r}", speaker_independent=False)
        return PROTOCOLS.get(self.protocol, unknown)

    @property
    def arguments(self) -> dict[str, Any]:
        return self.run.get("arguments", {})

    @property
    def corpora(self) -> list[str]:
        """The tested corpora."""
        return self.frame["corpus"].astype(str).unique().tolist()

    @property
    def trained_on(self) -> list[str]:
        """The corpora that were trained on; but for protocol "cross", other clips of the tested ones too."""
        divided, train = (self.arguments.get(name) or [] for name in ("corpora", "train_corpora"))
        divided, train = (one.replace(",", " ").split() if isinstance(one, str) else one for one in (divided, train))
        if self.protocol == "cross" and train:
            return list(train)
        return list(dict.fromkeys([*(divided or self.corpora), *train]))

    @property
    def tested_finished_model(self) -> bool:
        """Whether the run trained nothing (train.evaluate): it tested this very model."""
        return self.protocol == "cross" and not self.arguments.get("train_corpora")

    @property
    def speaker_independent(self) -> bool:
        """Whether no test speaker was in the training data."""
        are_known = self.frame["speaker"].notna().all()
        return self.definition.speaker_independent and are_known and not self.run.get("heard_in_training")

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds that were tested, ascending."""
        return sorted(self.frame["fold"].unique().tolist())

    @property
    def summary(self) -> dict[str, Any]:
        """The contents of the model's ``metrics.json`` when this is its headline evaluation."""
        return {"corpora": self.corpora, "protocol": self.protocol, **self.metrics}

    @property
    def folder(self) -> str:
        """Its folder below the model folder."""
        return f"{EVALUATION}/{self.name}"

    @property
    def is_ravdess(self) -> bool:
        return self.corpora == ["ravdess"]

    @property
    def corpus_titles(self) -> str:
        """The names of the tested corpora."""
        return "RAVDESS speech" if self.is_ravdess else ", ".join(name.upper() for name in self.corpora)

    @property
    def speaker(self) -> str:
        """What a speaker is called."""
        return "actor" if self.is_ravdess else "speaker"

    @property
    def tested(self) -> str:
        """The size of the test, such as "300 clips of 5 actors"."""
        count = self.metrics["n_speakers"]
        return f"{self.metrics['n_clips']} clips of {count or 'unknown'} {self.speaker}{'' if count == 1 else 's'}"

    @property
    def partial(self) -> str:
        """Which folds were tested, as "fold 0" or "folds 0, 1"; empty where all of the protocol's were."""
        folds, arguments = self.folds, self.arguments
        all_were = len(folds) >= self.definition.n_folds or arguments.get("folds_from")
        # With "loco", the folds are the corpora that are named.
        if self.protocol == "loco" or (all_were and arguments.get("folds") is None):
            return ""
        return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"

    @property
    def dataset_name(self) -> str:
        """What the Hub shows beside each figure; it says where one is speaker-dependent."""
        seen = "seen in training" if self.run.get("heard_in_training") else ""
        return ", ".join(filter(None, [self.corpus_titles, self.definition.title, seen, self.partial]))

    @property
    def protocol_words(self) -> str:
        """A description of the test, to follow a colon."""
        source, seen = self.arguments.get("folds_from"), self.run.get("heard_in_training")
        if self.protocol == "cross":
            if seen:
                return f"all clips, although it was trained on {', '.join(seen)}"
            trained = self.arguments.get("train_corpora")
            return f"all clips, by a model that was trained on {', '.join(trained)}" if trained else "all clips"
        words = self.definition.description
        if source:
            speakers = "no speaker is" if self.speaker_independent else "the same speakers are"
            words = f"the folds {self.protocol!r} of {source}; {speakers} in training and test"
        return f"{words}; only {self.partial} of it" if self.partial else words

    @property
    def headline_key(self) -> str:
        """The figure that is quoted: the mean over folds, where there are several."""
        return "fold_mean_accuracy" if len(self.folds) > 1 else "accuracy"

    def confident_share(self, threshold: float) -> tuple[str, str | None]:
        """The share of the predictions whose confidence reaches ``threshold``, and the accuracy of those."""
        confident = probability_matrix(self.frame)[0].max(axis=1) >= threshold
        right = is_right(self.frame)
        return percent(confident.mean()), percent(right[confident].mean()) if confident.any() else None

    @property
    def fold_table(self) -> str:
        """Figures of each fold, its test speakers, and the settings that it chose on others, as Markdown."""
        records = {record["index"]: record for record in self.run.get("folds", [])}
        speakers = {index: sorted(part["speaker"].astype(str).unique()) for index, part in self.frame.groupby("fold")}
        disjoint = sum(map(len, speakers.values())) == len(set().union(*speakers.values()))
        rows = []
        for index in self.folds:
            figures, record = self.metrics["per_fold"][str(index)], records.get(index, {})
            rows.append(
                {
                    "fold": str(index),
                    f"test {self.speaker}s": ", ".join(speakers[index]) if disjoint else "",
                    "clips": str(figures["n"]),
                    "accuracy, %": markdown.percent(figures["accuracy"]),
                    "UAR, %": markdown.percent(figures["balanced_accuracy"]),
                    "chosen": words(record.get("parameters") or {}),
                    "temperature": f"{record['temperature']:.3f}" if "temperature" in record else "",
                    "seconds": f"{record['seconds']:.0f}" if "seconds" in record else "",
                }
            )
        head = [title for title in rows[0] if any(row[title] for row in rows)]
        right = [title not in ("fold", "chosen", f"test {self.speaker}s") for title in head]
        return markdown.table(head, [[row[title] for title in head] for row in rows], right)

    @property
    def temperatures(self) -> list[float]:
        """The temperature of each fold; empty where none was fitted."""
        if self.arguments.get("calibrate") is False:
            return []
        return [record["temperature"] for record in self.run.get("folds", []) if "temperature" in record]

    @property
    def was_resumed(self) -> bool:
        """Whether the run was resumed, so that the duration of a fold may be too short."""
        records = self.run.get("folds", [])
        return bool(self.arguments.get("resume_from_checkpoint")) or any(record.get("resumed") for record in records)

    @property
    def confusion(self) -> tuple[str, str, str] | None:
        """The most frequent error: label, predicted label and share of the label's clips; None without errors."""
        counts = np.array(self.metrics["confusion_matrix"], dtype=float)
        wrong = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(wrong, 0)
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        labels = self.metrics["labels"]
        return (labels[true], labels[predicted], percent(wrong[true, predicted])) if wrong.any() else None


def percent(share: float) -> str:
    """A share of 1 in per cent, with one decimal."""
    return f"{markdown.percent(share)} %"


def words(values: dict[str, Any]) -> str:
    """Names and values, such as ``C 8, gamma 0.000463``."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
