"""Write the pages of the documentation that repeat what the code or kept runs say, and the figures in README.md.

Examples:

    python -m docs.pages            # docs/results.md, docs/corpora.md, docs/command-line.md and README.md's table
    python -m docs.pages --check    # exit status 1 if one of them is out of date

Every figure is computed from the predictions in reports/runs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_hf.command_line import CommandParser
from ser_hf.corpora import CORPORA, corpus_facts
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import read_predictions

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS = REPOSITORY / "reports" / "runs"
WHISPER, PROBE = "Whisper base, 4 layers, fine-tuned", "Whisper base, 3 layers, frozen, linear probe"
SVM, TEXTBOOK = "SVM on 1080 engineered features, tuned", "SVM on MFCC statistics, the textbook recipe"
LOCO = {
    "savee": "SAVEE (en)",
    "emodb": "EmoDB (de)",
    "emovo": "EMOVO (it)",
    "nemo": "nEMO (pl)",
    "korean-emotion-tts": "Korean",
    "ased": "ASED (am)",
}
LOCO_ROWS = {
    WHISPER: "whisper-loco-seed42",
    PROBE: "whisper-linear-probe-loco-seed42",
    SVM: "svm-loco",
    TEXTBOOK: "svm-textbook-loco",
}
ACTOR_ROWS = {
    f"{WHISPER}, also on the other corpora": "whisper-actor-seed42",
    f"{WHISPER}, also on the other corpora, another seed": "whisper-actor-seed43",
    f"{WHISPER} on RAVDESS alone": "whisper-ravdess-actor-seed42",
    f"{WHISPER} on RAVDESS alone, another seed": "whisper-ravdess-actor-seed43",
    f"{PROBE}, also on the other corpora": "whisper-linear-probe-actor-seed42",
    f"{PROBE} on RAVDESS alone": "whisper-linear-probe-ravdess-actor-seed42",
    f"{SVM}, RAVDESS alone": "svm-actor",
    f"{TEXTBOOK}, RAVDESS alone": "svm-textbook-actor",
}
EMOBOX_ROWS = {
    f"{WHISPER}, also on the other corpora": "whisper-emobox-seed42",
    f"{PROBE}, also on the other corpora": "whisper-linear-probe-emobox-seed42",
}
RANDOM_ROWS = {
    f"{WHISPER} on RAVDESS alone": "whisper-random-seed42",
    f"{PROBE} on RAVDESS alone": "whisper-linear-probe-random-seed42",
    SVM: "svm-random",
    TEXTBOOK: "svm-textbook-random",
}
ROBUST = "whisper-actor-seed42"
CROSS_ROWS = {SVM: "svm-cross", TEXTBOOK: "svm-textbook-cross"}
QUOTED = """\
| *humans, audio only, as quoted by Luna-Jimenez et al. 2022* | | 67 | | | |
| *XLSR-53 large, 316M, checkpoint picked on the test actors (Luna-Jimenez et al. 2022)* | | 81.8 | | | 0.153 |
| *largest class / chance* | | 13.3 / 12.5 | | | |"""
RESULTS = """\
# Results

Made by `python -m docs.pages` from the predictions in `reports/runs`. UAR is balanced accuracy (the mean of the
recalls), ECE the expected calibration error with 15 bins. Intervals are 95 %, by bootstrap over speakers. What each
figure may be used for, and on what the settings were chosen, is in [Method](method.md). All pairs of models, with
McNemar's test, per actor, gender, label and corpus: `reports/comparison.md`; other model families:
`reports/leaderboard.md`.

## Unseen corpora

Leave one corpus out (`--protocol loco`): the model is trained on all training corpora except the tested one, which is
tested whole, with all eight labels open. UAR in %, ECE as the mean over the corpora. SAVEE is in no training set.
**Expect these figures on your own recordings.**

{loco}

The network marks {confident:.0f} % of these predictions as confident; {right:.0f} % of those are right.

## Unseen speakers of RAVDESS

1440 clips of 24 actors in the five actor-disjoint folds of Luna-Jimenez et al. 2022 (`--protocol actor`). Accuracy is
the mean over the folds.

{actor}

The six actor-disjoint folds of EmoBox (arXiv 2406.07162, `--protocol emobox`), whose own table has Whisper large-v3,
frozen, 1.5B parameters, with 75.9 % accuracy and 75.3 % UAR, and WavLM-large with 72.2 %:

{emobox}

## Other recording conditions

The clips of RAVDESS's test actors again, changed as said (`python -m experiments.robustness`), by the models of
`{robust}`. *Other label*: the share of the clips whose predicted label is not that of the clip as it is recorded.

{conditions}

What adapting the model to a speaker gains: `reports/adaptation.md`.

## Seen speakers

A random split over clips (`--protocol random`): **speaker-dependent**, only to stand beside published figures of such
splits, which range from 75 to 97 %.

{random}

## One corpus to another

Trained on RAVDESS alone, tested on EmoDB (`--protocol cross`):

{cross}
"""
CORPORA_PAGE = """\
# Corpora

Made by `python -m docs.pages` from the modules in `ser_hf/corpora`. Each corpus is read from the folder of its name
below `SER_HF_DATA` (or `--data_dir`), in its official layout, or found by its file names below it; `.flac` is as good
as `.wav`. One that is missing is downloaded from its official record where that is free; otherwise the message says
where to get it. `all-training` names every corpus that a published model may be trained on and that is there; the
others are test corpora.

{table}

```python
from ser_hf import load_corpus

clips = load_corpus("ravdess")  # a datasets.Dataset: clip, audio, emotion, speaker, gender, statement, ... ```

A clip whose emotion is none of the eight labels is left out, and the number of such clips is in a warning. A new
corpus is one module: see CONTRIBUTING.md.
"""
COMMANDS = (
    "ser_hf.predict",
    "ser_hf.embed",
    "train.finetune",
    "train.baseline",
    "train.evaluate",
    "train.compare",
    "train.publish",
)
COMMANDS_PAGE = """\
# Command line

Made by `python -m docs.pages` from the commands' own `--help`. With the package installed (`pip install .`), `ser-hf
predict` is `python -m ser_hf.predict`.
"""
MARKED = "<!-- {0} -->\n{1}<!-- /{0} -->\n"  # a part of README.md that this command writes
WIDTH = 100  # of the help texts, in characters


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 1 if --check found a page out of date."""
    check = build_parser().parse_args(argv).check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(REPOSITORY)} is out of date: run python -m docs.pages", file=sys.stderr)
        else:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(stale))


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m docs.pages", doc=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    return parser


def pages() -> dict[Path, str]:
    """The text of each page, and of README.md with its table."""
    docs, readme = REPOSITORY / "docs", REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, part in (("headline", headline()), ("figures", summary())):
        text = re.sub(MARKED.format(name, "[^<]*"), MARKED.format(name, part), text)
    return {
        readme: text,
        docs / "results.md": results(),
        docs / "corpora.md": CORPORA_PAGE.format(table=corpora_table()),
        docs / "command-line.md": COMMANDS_PAGE + "".join(map(help_of, COMMANDS)),
    }


def metrics_of(run: str) -> dict[str, Any]:
    return evaluate_predictions(read_predictions(RUNS / run))


def kept(rows: dict[str, str]) -> dict[str, str]:
    """The rows whose run is kept."""
    return {title: run for title, run in rows.items() if (RUNS / run).is_dir()}


def headline() -> str:
    """README.md's sentence on unseen corpora and unseen speakers."""
    loco, actor = metrics_of(LOCO_ROWS[WHISPER]), metrics_of("whisper-actor-seed42")
    uar, accuracy = loco["mean_over_corpora"]["balanced_accuracy"], actor["fold_mean_accuracy"]
    alone = metrics_of("whisper-ravdess-actor-seed42")["fold_mean_accuracy"]
    return (
        f"On corpora that it was not trained on, its balanced accuracy (UAR) over the eight emotions is\n"
        f"**{100 * uar:.1f} %** on average; on unseen speakers of RAVDESS, whose other speakers trained it, its\n"
        f"accuracy is **{100 * accuracy:.1f} %**, and {100 * alone:.1f} % when it is trained on RAVDESS alone.\n"
    )


def summary() -> str:
    """README.md's table: each model on unseen corpora and on unseen speakers."""
    lines = ["| model | unseen corpora, UAR % | unseen speakers of RAVDESS, accuracy % |", "|---|---:|---:|"]
    for title, loco, actor in (
        (WHISPER, "whisper-loco-seed42", "whisper-actor-seed42"),
        (PROBE, "whisper-linear-probe-loco-seed42", "whisper-linear-probe-actor-seed42"),
        (f"{SVM} (unseen speakers: on RAVDESS alone)", "svm-loco", "svm-actor"),
    ):
        mean = "–"
        if (RUNS / loco).is_dir():
            mean = f"{100 * metrics_of(loco)['mean_over_corpora']['balanced_accuracy']:.1f}"
        metrics = metrics_of(actor)
        low, high = (f"{100 * bound:.1f}" for bound in metrics["intervals"]["accuracy"])
        lines.append(f"| {title} | {mean} | {100 * metrics['fold_mean_accuracy']:.1f} ({low} to {high}) |")
    return "\n".join(lines) + "\n"


def results() -> str:
    """docs/results.md."""
    frame = read_predictions(RUNS / LOCO_ROWS[WHISPER])
    confident = frame[frame["confident"]]
    return RESULTS.format(
        loco=loco_table(kept(LOCO_ROWS)),
        confident=100 * len(confident) / len(frame),
        right=100 * (confident["emotion"] == confident["predicted"]).mean(),
        actor=f"{fold_table(kept(ACTOR_ROWS))}\n{QUOTED}",
        emobox=fold_table(kept(EMOBOX_ROWS)),
        random=fold_table(kept(RANDOM_ROWS)),
        robust=ROBUST,
        conditions=conditions_table(),
        cross=fold_table(kept(CROSS_ROWS)),
    )


def conditions_table() -> str:
    """Accuracy and changed labels of the network's clips under each condition."""
    measured = json.loads((RUNS / ROBUST / "conditions.json").read_text(encoding="utf-8"))
    lines = ["| condition | accuracy, % | other label, % of the clips |", "|---|---:|---:|"]
    for name, one in measured.items():
        lines.append(f"| {name} | {100 * one['accuracy']:.1f} | {100 * one['changed']:.1f} |")
    return "\n".join(lines)


def loco_table(rows: dict[str, str]) -> str:
    """UAR of each left-out corpus, their mean, and the mean ECE."""
    lines = [f"| model | run | {' | '.join(LOCO.values())} | mean | ECE |", "|---|---|" + "---:|" * (len(LOCO) + 2)]
    for title, run in rows.items():
        metrics = metrics_of(run)
        cells = [f"{100 * metrics['per_corpus'][name]['balanced_accuracy']:.1f}" for name in LOCO]
        mean = metrics["mean_over_corpora"]
        figures = [*cells, f"**{100 * mean['balanced_accuracy']:.1f}**", f"{mean['ece']:.3f}"]
        lines.append(f"| {title} | `{run}` | {' | '.join(figures)} |")
    return "\n".join(lines)


def fold_table(rows: dict[str, str]) -> str:
    """Accuracy with its interval, UAR and ECE of each run."""
    lines = ["| model | run | accuracy, % | 95 % interval | UAR, % | ECE |", "|---|---|---:|---:|---:|---:|"]
    for title, run in rows.items():
        metrics = metrics_of(run)
        low, high = metrics["intervals"]["accuracy"]
        accuracy, uar = metrics["fold_mean_accuracy"], metrics["balanced_accuracy"]
        figures = [f"**{100 * accuracy:.1f}**", f"{100 * low:.1f} to {100 * high:.1f}", f"{100 * uar:.1f}"]
        lines.append(f"| {title} | `{run}` | {' | '.join(figures)} | {metrics['ece']:.3f} |")
    return "\n".join(lines)


def corpora_table() -> str:
    """Name, language, licence, labels and use of every corpus."""
    lines = ["| name | corpus | language | licence | has calm | use |", "|---|---|---|---|---|---|"]
    for name in CORPORA:
        facts = corpus_facts(name)
        language, use = "none" if facts.language == "zxx" else facts.language, "training" if facts.trainable else "test"
        calm = "yes" if facts.has_calm else "no"
        lines.append(f"| `{name}` | [{facts.title}]({facts.record}) | {language} | {facts.licence} | {calm} | {use} |")
    return "\n".join(lines)


def help_of(command: str) -> str:
    """The section of one command: what its --help prints."""
    os.environ["COLUMNS"] = str(WIDTH)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(command).main(["--help"])
    return f"\n## {command.split('.')[1]}\n\n```text\n{printed.getvalue().rstrip()}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
