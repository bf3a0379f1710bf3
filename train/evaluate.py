"""Test a trained model on whole corpora: every clip is predicted once, and a run folder is written.

Examples:

    python -m train.evaluate --model models/ser-whisper --corpora emodb --output_dir runs/whisper-cross-emodb
    python -m train.evaluate --model USER/NAME --corpora tess savee --output_dir runs/theirs-cross

The figures hold for unseen speakers only if the model was not trained on these corpora. Exit status: 0, or 2 for what
the message says.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ser_hf.classifier import EmotionClassifier
from ser_hf.command_line import prints_errors
from ser_hf.corpora import corpus_fingerprint, load_corpus
from ser_hf.evaluation.metrics import summary
from ser_hf.evaluation.runs import create_run, finish_run, write_run_json
from ser_hf.hub import trained_on
from ser_hf.labels import LABELS
from train.arguments import parse_arguments
from train.common import names_of, option, predict_clips, require


@dataclass
class EvaluateArguments:
    """Which model is tested on what."""

    _argument_group_name = "test: which model on what"

    model: str = field(metadata={"help": "Model folder or Hub id."})
    output_dir: str = field(metadata={"help": "Run folder to write, e.g. runs/whisper-cross-emodb."})
    corpora: list[str] = field(metadata={"help": "Corpora to test on, e.g. emodb."})
    data_dir: str | None = option(None, "Folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data).")
    batch_size: int = option(16, "Windows per batch.")
    device: str | None = option(None, "Where a neural model runs, e.g. cuda.")
    overwrite_output_dir: bool = option(False, "Replace the run folder if it exists.")

    def __post_init__(self) -> None:
        self.corpora = names_of(self.corpora)


ARGUMENTS = (EvaluateArguments,)


@prints_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 0, or 2 for what the message says."""
    argv = sys.argv[1:] if argv is None else list(argv)
    (arguments,) = parse_arguments(ARGUMENTS, argv, "python -m train.evaluate", __doc__)
    evaluate(arguments, command=shlex.join(["python", "-m", "train.evaluate", *argv]))


def evaluate(arguments: EvaluateArguments, command: str) -> dict[str, Any]:
    """Predict every clip of the corpora, write the run folder and print its figures; returns the metrics."""
    classifier = EmotionClassifier.from_pretrained(arguments.model, device=arguments.device)
    unknown = ", ".join(label for label in classifier.labels if label not in LABELS)
    require(not unknown, f"{arguments.model} has labels that are not ours: {unknown} (ours: {', '.join(LABELS)})")
    overlap = warn_of_training_corpora(arguments)
    tables = {name: load_corpus(name, arguments.data_dir) for name in arguments.corpora}
    # Before predicting: a clip that is lost meanwhile is reported as failed.
    fingerprints = {name: corpus_fingerprint(table) for name, table in tables.items()}
    folder = create_run(arguments.output_dir, overwrite=arguments.overwrite_output_dir)
    started = time.perf_counter()
    frames, failed = [], []
    for table in tables.values():
        frame, errors = predict_clips(classifier, table, range(len(table)), 0, arguments.batch_size)
        frames += [frame] if len(frame) else []
        failed += [{"clip": table[row]["clip"], "error": str(error)} for row, error in errors.items()]
    if failed:
        print(f"{len(failed)} clips could not be used:", *(f"  {one['error']}" for one in failed), sep="\n")
    write_run_json(
        folder,
        command=command,
        arguments=asdict(arguments),
        protocol="cross",
        model=classifier.name,
        seed=None,
        corpus_fingerprint=fingerprints,
        heard_in_training=overlap,
        failed=failed,
        seconds=round(time.perf_counter() - started, 1),
    )
    metrics = finish_run(folder, frames)
    print(summary(metrics))
    print(f"written to {folder}")
    return metrics


def warn_of_training_corpora(arguments: EvaluateArguments) -> list[str]:
    """The corpora that the model was trained on and is tested on now; warns of them, and where it does not say."""
    model, seen = arguments.model, trained_on(arguments.model)
    overlap = sorted(set(seen or ()) & set(arguments.corpora))
    if overlap:
        print(f"warning: {model} was trained on {', '.join(overlap)}: not a test there", file=sys.stderr)
    elif not seen:
        print(f"warning: config.json of {model} names no training corpora: perhaps this is no test", file=sys.stderr)
    return overlap


if __name__ == "__main__":
    sys.exit(main())
