"""Measure what adapting to a speaker gains, from kept predictions: no training, no audio.

Examples:

    python -m experiments.adaptation

Writes reports/adaptation.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_hf.adapt import in_label_order, make_reference, shifted, speaker_shift
from ser_hf.command_line import CommandParser
from ser_hf.evaluation.markdown import table
from ser_hf.evaluation.metrics import label_indices, probability_matrix
from ser_hf.evaluation.runs import read_predictions
from ser_hf.utils.files import write_text

# Kept run, the corpus of it that is tested (None: all), and how the report calls the two.
TRIALS = (
    ("whisper-actor-seed42", None, "network, RAVDESS's unseen actors"),
    ("svm-actor", None, "SVM, RAVDESS's unseen actors"),
    ("whisper-loco-seed42", "emodb", "network, EmoDB (unseen corpus)"),
    ("whisper-loco-seed42", "savee", "network, SAVEE (unseen corpus)"),
)
KINDS = ("a mix of emotions", "mostly neutral", "neutral, said so")
COUNTS = (1, 2, 5, 10, 20, 50)
NEUTRAL_SHARE = 0.9  # of a mostly neutral mix
DRAWS = 10  # of recordings, per speaker
RUNS, REPORT = Path("reports/runs"), Path("reports/adaptation.md")
TEXT = """# Adapting to a speaker

Made by `python -m experiments.adaptation` from kept predictions. For each speaker, n recordings are drawn at random and
given to the method of `EmotionClassifier.adapt` (`ser_hf/adapt.py`), with the other speakers of the run as reference.
The figure is the change of accuracy, in points, on the speaker's recordings that were not drawn: the mean over the
speakers and {draws} draws. *A mix of emotions* draws from all recordings of the speaker; *mostly neutral* nine neutral
ones in ten (with replacement, since a speaker has only a few); *neutral, said so* neutral ones, with `neutral=True`.
The constants of the method are round numbers, and were not fitted to these runs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    output = build_parser().parse_args(argv).output
    rows = []
    for run, corpus, title in TRIALS:
        frame = read_predictions(RUNS / run)
        frame = frame if corpus is None else frame[frame["corpus"] == corpus]
        speakers = (frame["corpus"] + "/" + frame["speaker"].astype(str)).to_numpy()
        probabilities, names = probability_matrix(frame)
        for kind in KINDS:
            gains = [gain(probabilities, speakers, label_indices(frame), names, kind, count) for count in COUNTS]
            rows.append([title, kind, *("" if value is None else f"{100 * value:+.1f}" for value in gains)])
    head = ["model and corpus", "recordings of the speaker", *(f"n = {count}" for count in COUNTS)]
    write_text(output, f"{TEXT.format(draws=DRAWS)}\n{table(head, rows, [False, False, *[True] * len(COUNTS)])}\n")
    print(f"Written to {output}")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.adaptation", doc=__doc__)
    parser.add_argument("--output", type=Path, default=REPORT, metavar="F", help="where the report goes")
    return parser


def gain(
    probabilities: np.ndarray, speakers: np.ndarray, labels: np.ndarray, names: list[str], kind: str, count: int
) -> float | None:
    """Mean change of accuracy over speakers and draws; None where no speaker has such recordings."""
    changes = []
    is_neutral = labels == names.index("neutral")
    for speaker in np.unique(speakers):
        own = np.flatnonzero(speakers == speaker)
        others = speakers != speaker
        reference = in_label_order(
            make_reference(probabilities[others], speakers[others], labels[others], names), names
        )
        for draw in range(DRAWS):
            used = draw_recordings(own, is_neutral[own], kind, count, np.random.default_rng(draw))
            tested = np.setdiff1d(own, used)
            if len(used) and len(tested):
                shift = speaker_shift(probabilities[used], reference, neutral=kind == KINDS[2])
                after = shifted(probabilities[tested], shift).argmax(axis=1) == labels[tested]
                changes.append(after.mean() - (probabilities[tested].argmax(axis=1) == labels[tested]).mean())
    return float(np.mean(changes)) if changes else None


def draw_recordings(
    own: np.ndarray, is_neutral: np.ndarray, kind: str, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows of a speaker's recordings of one of `KINDS`; none where the speaker has too few."""
    neutral, others = own[is_neutral], own[~is_neutral]
    if kind == KINDS[0]:
        return rng.permutation(own)[:count] if count < len(own) else own[:0]
    if kind == KINDS[2]:
        return rng.permutation(neutral)[:count] if count <= len(neutral) else own[:0]
    if not len(neutral):
        return own[:0]
    n_neutral = round(NEUTRAL_SHARE * count)
    return np.concatenate([rng.choice(neutral, n_neutral), rng.choice(others, count - n_neutral)])


if __name__ == "__main__":
    sys.exit(main())
