"""Measure what predictions from a pretrained encoder depend on that is not emotion, changing one thing at a time.

Examples:

    python -m experiments.probe
    python -m experiments.probe --base_model pretrained/whisper-base-encoder --layer 3 --output reports/probe.md

A logistic regression on the mean over time of one frozen layer is a minute's stand-in for a fine-tuned network. It is
trained on RAVDESS as it was recorded or changed, and tested on speakers that no fold of `actor` tests, and on EmoDB.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from experiments.conditions import AS_RECORDED, CONDITIONS, Condition, room
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.augment import LEVEL_CENTRE_DB, apply_gain, set_level, vary_silence
from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.corpora import load_corpus
from ser_hf.evaluation.markdown import percent, table
from ser_hf.labels import LABELS
from ser_hf.models.building import create_model, pretrained_folder
from ser_hf.models.neural import NeuralModel
from ser_hf.protocols.folds import make_folds
from ser_hf.utils.files import write_text
from train.finetune_arguments import PRETRAINED

BATCH, REGULARISATION = 32, 0.01
LEVELS_DB = (LEVEL_CENTRE_DB - 16, LEVEL_CENTRE_DB + 16)  # that are drawn from, as --level_range_db 32 does


# Ways in which all clips of a corpus can come: name -> function(samples, rng).
VERSIONS: dict[str, Condition] = {
    AS_RECORDED: CONDITIONS[AS_RECORDED],
    "12 dB quieter": lambda samples, rng: apply_gain(samples, -12),
    "12 dB louder": lambda samples, rng: apply_gain(samples, 12),
    "all as loud": lambda samples, rng: set_level(samples, LEVEL_CENTRE_DB),
    "as loud as chance has it": lambda samples, rng: set_level(samples, rng.uniform(*LEVELS_DB)),
    "silence cut": CONDITIONS["silence cut"],
    "silence cut by chance": vary_silence,
    "1 s of silence before": lambda samples, rng: np.pad(samples, (SAMPLE_RATE, 0)),
    "in a room": room,
}


@dataclass(frozen=True)
class Trial:
    """What is trained on, and what is tested.

    Attributes:
        train, test: of `VERSIONS`.
        statement: train on clips of RAVDESS's sentence of this number alone, 0 or 1.
        tested_statement: and test on those of this one.
        normed: take the output after the norm that ends an encoder, as the stock classifier does of its last layer.
    """

    train: str
    test: str = AS_RECORDED
    statement: int | None = None
    tested_statement: int | None = None
    normed: bool = False


DRAWN, CUT = "as loud as chance has it", "silence cut by chance"
TRIALS = [
    *(Trial(AS_RECORDED, test) for test in VERSIONS if test not in (DRAWN, CUT)),
    Trial("all as loud", "all as loud"),
    *(Trial(DRAWN, test) for test in (AS_RECORDED, "12 dB quieter", "12 dB louder")),
    *(Trial(CUT, test) for test in (AS_RECORDED, "silence cut")),
    *(Trial(AS_RECORDED, AS_RECORDED, 0, tested) for tested in (0, 1)),
    *(Trial(train, normed=True) for train in (AS_RECORDED, DRAWN)),
]
INTRODUCTION = """\
What a network can learn from RAVDESS that is no emotion, measured by changing one thing at a time. A logistic
regression on the mean over time of layer {layer} of {base} (frozen, window of {window} s) stands for the network.
Made by

    python -m experiments.probe

*RAVDESS*: accuracy on speakers of the training part of each fold that were held out (protocol `develop`: no speaker
whom the fold tests is in any part of it). *EmoDB*: German, ten other voices, trained on all of RAVDESS; accuracy on
the {shared} labels that both corpora have, *all* among all eight labels, *shared* among those {shared} alone.
*Commonest* is what is predicted most often there, and how often; the most frequent label of EmoDB has {largest} % of
the clips."""


@prints_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 2 when the model or the data do not allow it."""
    arguments = build_parser().parse_args(argv)
    report = probe(arguments.base_model, arguments.layer, arguments.window_seconds, arguments.data_dir)
    write_text(arguments.output, report)
    print(f"written: {arguments.output}")


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.probe", doc=__doc__)
    parser.add_argument("--base_model", metavar="DIR|HUB_ID", default=PRETRAINED, help="the encoder")
    parser.add_argument("--layer", type=int, default=3, help="whose output is taken, from 1; not the last")
    parser.add_argument("--window_seconds", type=float, default=4, help="seconds of the encoder's input")
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)"
    )
    parser.add_argument("--output", type=Path, metavar="F", default=Path("reports/probe.md"), help="the report")
    return parser


def probe(base_model: str, layer: int, window: float, data_dir: str | None = None) -> str:
    """Carry out every trial; returns the report.

    Raises:
        CorpusError, ModelError, SplitError, AudioError: a corpus or the encoder cannot be used.
    """
    ours, other = (load_corpus(name, data_dir) for name in ("ravdess", "emodb"))
    folder, models = str(pretrained_folder(base_model)), {}
    for normed in (False, True):  # the states of the last layer that a model keeps are those after the encoder's norm
        model, extractor = create_model(folder, num_layers=layer + (not normed), window=window)
        models[normed] = NeuralModel(model.eval(), extractor)
    wanted = sorted({(name, trial.normed) for trial in TRIALS for name in (trial.train, trial.test)})
    states = {
        (name, normed): tuple(mean_states(models[normed], layer, clips, VERSIONS[name]) for clips in (ours, other))
        for name, normed in tqdm(wanted, unit="version")
    }
    truth = np.array(other["emotion"])
    counts = np.bincount(truth, minlength=len(LABELS))
    rows = [_row(trial, ours, truth, states) for trial in TRIALS]
    text = INTRODUCTION.format(
        layer=layer,
        base=Path(base_model).name,
        window=f"{window:g}",
        shared=np.count_nonzero(counts),
        largest=percent(counts.max() / counts.sum()),
    )
    head = ["trained on", "tested on", "RAVDESS", "EmoDB, all", "EmoDB, shared", "commonest"]
    return "\n\n".join(["# What the predictions lean on", text, table(head, rows)]) + "\n"


def mean_states(model: NeuralModel, layer: int, clips: Dataset, change: Callable) -> np.ndarray:
    """The output of a layer for every clip of a table under a change, averaged over time: float32 (clips, size)."""
    found = []
    for start in range(0, len(clips), BATCH):
        audio = clips[start : start + BATCH]["audio"]
        changed = [change(load_audio(one), np.random.default_rng([start + i])) for i, one in enumerate(audio)]
        window = int(model.window_seconds * SAMPLE_RATE)
        found.append(model.mean_states([samples[:window] for samples in changed], layer))
    return np.concatenate(found)


def _row(trial: Trial, ours: Dataset, other: np.ndarray, states: dict[tuple[str, bool], tuple]) -> list[str]:
    emotions, sentences = np.array(ours["emotion"]), np.array(ours["statement"])
    said = np.unique(sentences)
    trained = np.full(len(ours), True) if trial.statement is None else sentences == said[trial.statement]
    tested = np.full(len(ours), True) if trial.tested_statement is None else sentences == said[trial.tested_statement]
    seen, unseen = states[trial.train, trial.normed][0], states[trial.test, trial.normed]
    right = []
    for fold in make_folds(ours, "develop"):
        train, test = fold.train[trained[fold.train]], fold.test[tested[fold.test]]
        predicted = _fit(seen[train], emotions[train]).predict(unseen[0][test])
        right.append(np.mean(predicted == emotions[test]))
    scores = np.zeros((len(other), len(LABELS)))
    fitted = _fit(seen[trained], emotions[trained])
    scores[:, fitted.classes_] = fitted.predict_proba(unseen[1])
    predicted = scores.argmax(axis=1)
    shared = np.isin(np.arange(len(LABELS)), other)
    among = np.where(shared, scores, -1).argmax(axis=1)
    commonest = np.bincount(predicted).argmax()
    words = [trial.train, trial.test]
    if trial.statement is not None:
        same = "the same" if trial.statement == trial.tested_statement else "the other"
        words = [f"{words[0]}, one sentence", f"{words[1]}, {same} sentence"]
    if trial.normed:
        words[0] = f"{words[0]}, behind the norm"
    figures = [percent(np.mean(right)), percent(np.mean(predicted == other)), percent(np.mean(among == other))]
    return [*words, *figures, f"{LABELS[commonest]} {percent(np.mean(predicted == commonest))}"]


def _fit(states: np.ndarray, emotions: np.ndarray):
    regression = LogisticRegression(C=REGULARISATION, max_iter=1000, class_weight="balanced")
    return make_pipeline(StandardScaler(), regression).fit(states, emotions)


if __name__ == "__main__":
    sys.exit(main())
