"""One evaluation as the model card shows it: what was tested in words, and the cells of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_hf.evaluation import markdown
from ser_hf.evaluation.metrics import probability_matrix
from ser_hf.hub.evidence import EVALUATION, Evaluation
from ser_hf.labels import GENDER_NAMES
from ser_hf.protocols import PROTOCOLS

FIGURES = {
    "fold_mean_accuracy": "accuracy, mean over folds",
    "accuracy": "accuracy, all clips",
    "balanced_accuracy": "balanced accuracy (UAR)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE, 15 bins)",
    "nll": "negative log-likelihood",
}
UNITS = {"nll": "nats"}  # the others are shares, shown in per cent
LEAST_COVERAGE = 0.5
NO_FIGURE = "–"  # a share of no clips

Table = tuple[list[str], list[list[str]]]  # the head, and the rows


@dataclass(frozen=True)
class Section(Evaluation):
    """An evaluation with its words and tables; every cell is text."""

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
        return f"{self.metrics['n_clips']} clips of {count} {self.speaker}{'' if count == 1 else 's'}"

    @property
    def partial(self) -> str:
        """Which folds were tested, as "fold 0" or "folds 0, 1"; empty where all of the protocol's were."""
        folds, arguments = self.folds, self.arguments
        if self.protocol == "loco":  # whose folds are the corpora that are named
            return ""
        known = PROTOCOLS.get(self.protocol)
        all_were = len(folds) >= (known.n_folds if known else 0) or arguments.get("folds_from")
        if all_were and arguments.get("folds") is None:
            return ""
        return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"

    @property
    def dataset_name(self) -> str:
        """What the Hub shows beside each figure; it says where one is speaker-dependent."""
        known = PROTOCOLS.get(self.protocol)
        words = [self.corpus_titles, known.title if known else f"protocol {self.protocol}"]
        words += ["seen in training"] if self.run.get("heard_in_training") else []
        return ", ".join([*words, *filter(None, [self.partial])])

    @property
    def protocol_words(self) -> str:
        """A description of the test, to follow a colon."""
        source, seen = self.arguments.get("folds_from"), self.run.get("heard_in_training")
        if self.protocol == "cross":
            if seen:
                return f"all clips, although it was trained on {', '.join(seen)}"
            trained = self.arguments.get("train_corpora")
            return f"all clips, by a model that was trained on {', '.join(trained)}" if trained else "all clips"
        known = PROTOCOLS.get(self.protocol)
        words = known.description if known else f"protocol {self.protocol!r}"
        if source:
            speakers = "no speaker is" if self.speaker_independent else "the same speakers are"
            words = f"the folds {self.protocol!r} of {source}; {speakers} in training and test"
        return f"{words}; only {self.partial} of it" if self.partial else words

    @property
    def test_speakers(self) -> list[str]:
        """The names of the test speakers."""
        return list(self.metrics["per_speaker"])

    @property
    def headline_key(self) -> str:
        """The figure that is quoted: the mean over folds, where there are several."""
        return "fold_mean_accuracy" if len(self.folds) > 1 else "accuracy"

    @property
    def headline(self) -> str:
        return percent(self.metrics[self.headline_key])

    @property
    def figures(self) -> Table:
        """Main figures with their 95 % intervals."""
        head, rows, intervals = ["figure", "value"], [], self.metrics["intervals"]
        for key, title in FIGURES.items():
            if key != "fold_mean_accuracy" or key == self.headline_key:
                text = "{:.3f}".format if key in UNITS else cell
                interval = " to ".join(text(bound) for bound in intervals.get(key, ()))
                name = f"{title}, {UNITS.get(key, '%')}"
                rows.append([name, text(self.metrics[key]), *([interval] if intervals else [])])
        return head + ["95 % interval"] * bool(intervals), rows

    @property
    def classes(self) -> Table:
        """Figures of each label."""
        rows = [
            [label, *(cell(row[key]) for key in ("precision", "recall", "f1")), str(row["support"])]
            for label, row in self.metrics["per_class"].items()
        ]
        return ["label", "precision, %", "recall, %", "F1, %", "clips"], rows

    @property
    def kinds(self) -> Table:
        """Figures by corpus, where there are several, by gender and by intensity."""
        rows = [_group(name.upper(), group) for name, group in self.metrics.get("per_corpus", {}).items()]
        rows += [
            _group(f"{GENDER_NAMES.get(name, name or 'gender not known')}", group)
            for name, group in self.metrics["per_gender"].items()
        ]
        rows += [_group(f"{name} intensity", group) for name, group in self.metrics["per_intensity"].items() if name]
        return ["clips of", *_GROUP_HEAD], rows

    @property
    def speakers(self) -> Table:
        """Figures of each speaker."""
        rows = [
            [name, group["gender"], *_group(name, group)[1:]] for name, group in self.metrics["per_speaker"].items()
        ]
        return [self.speaker, "gender", *_GROUP_HEAD], rows

    @property
    def coverage(self) -> Table:
        """Accuracy on the most confident clips, from all of them down to half."""
        kept = [row for row in self.metrics["coverage"] if row["coverage"] >= LEAST_COVERAGE]
        rows = [[f"{100 * row['coverage']:.0f}", cell(row["accuracy"]), cell(row["confidence"])] for row in kept]
        return ["most confident clips, %", "accuracy, %", "least confidence, %"], rows

    def confident_share(self, threshold: float) -> tuple[str, str | None]:
        """The share of the predictions whose confidence reaches ``threshold``, and the accuracy of those."""
        probabilities, names = probability_matrix(self.frame)
        confident = probabilities.max(axis=1) >= threshold
        right = np.array(names)[probabilities.argmax(axis=1)] == self.frame["emotion"].astype(str)
        return percent(confident.mean()), percent(right[confident].mean()) if confident.any() else None

    @property
    def fold_table(self) -> Table:
        """Figures of each fold, its test speakers, and the settings that it chose on others."""
        records = {record["index"]: record for record in self.run.get("folds", [])}
        frame = self.frame
        speakers = {index: sorted(part["speaker"].astype(str).unique()) for index, part in frame.groupby("fold")}
        disjoint = sum(map(len, speakers.values())) == len(set().union(*speakers.values()))
        # Column title -> the cell of a fold.
        columns = {
            f"test {self.speaker}s": lambda index: ", ".join(speakers[index]) if disjoint else "",
            "clips": lambda index: str(self.metrics["per_fold"][str(index)]["n"]),
            "accuracy, %": lambda index: cell(self.metrics["per_fold"][str(index)]["accuracy"]),
            "UAR, %": lambda index: cell(self.metrics["per_fold"][str(index)]["balanced_accuracy"]),
            "chosen": lambda index: words(records.get(index, {}).get("parameters") or {}),
            "temperature": lambda index: number(records.get(index, {}).get("temperature")),
            "seconds": lambda index: number(records.get(index, {}).get("seconds"), "{:.0f}"),
        }
        cells = {title: [cell(index) for index in self.folds] for title, cell in columns.items()}
        kept = {title: column for title, column in cells.items() if any(column)}
        rows = zip(map(str, self.folds), *kept.values(), strict=True)
        return ["fold", *kept], [list(row) for row in rows]

    @property
    def temperatures(self) -> list[float]:
        """The temperature of each fold; empty where none was fitted."""
        if self.arguments.get("calibrate") is False:
            return []
        return [record["temperature"] for record in self.run.get("folds", []) if "temperature" in record]

    @property
    def minutes(self) -> str | None:
        """The duration of the run; None where it is not known."""
        seconds = self.run.get("seconds")
        return None if seconds is None else f"{seconds / 60:.1f}"

    @property
    def was_resumed(self) -> bool:
        """Whether the run was resumed, so that the duration of a fold may be too short."""
        records = self.run.get("folds", [])
        if all("resumed" in record for record in records):
            return any(record["resumed"] for record in records)
        return bool(self.arguments.get("resume_from_checkpoint"))

    @property
    def extremes(self) -> dict[str, tuple[str, str]]:
        """Name and figure of the worst and best speaker and of the label with the lowest recall ("weakest")."""
        speakers = sorted((group["accuracy"], name) for name, group in self.metrics["per_speaker"].items())
        recalls = [(row["recall"], name) for name, row in self.metrics["per_class"].items() if row["support"]]
        found = {"worst": speakers[0], "best": speakers[-1], "weakest": min(recalls)}
        return {key: (name, percent(value)) for key, (value, name) in found.items()}

    @property
    def confusion(self) -> tuple[str, str, str] | None:
        """The most frequent error: label, predicted label and share of the label's clips; None without errors."""
        counts = np.array(self.metrics["confusion_matrix"], dtype=float)
        wrong = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(wrong, 0)
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        labels = self.metrics["labels"]
        return (labels[true], labels[predicted], percent(wrong[true, predicted])) if wrong.any() else None

    @property
    def chance(self) -> tuple[str, str]:
        """The accuracy of guessing, and of always predicting the largest class."""
        support = [row["support"] for row in self.metrics["per_class"].values()]
        return percent(1 / len(support)), percent(max(support) / self.metrics["n_clips"])


_GROUP_HEAD = ["clips", "accuracy, %", "UAR, %"]


def _group(name: str, group: dict[str, Any]) -> list[str]:
    return [name, str(group["n"]), cell(group["accuracy"]), cell(group["balanced_accuracy"])]


def cell(share: float | None) -> str:
    """A share of 1 as a cell of a column of per cent, with one decimal."""
    return markdown.percent(share, NO_FIGURE)


def percent(share: float) -> str:
    """A share of 1 in per cent, with one decimal."""
    return f"{markdown.percent(share)} %"


def number(value: float | None, pattern: str = "{:.3f}") -> str:
    """A number, or nothing for None."""
    return "" if value is None else pattern.format(value)


def words(values: dict[str, Any]) -> str:
    """Names and values, such as ``C 8, gamma 0.000463``."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
