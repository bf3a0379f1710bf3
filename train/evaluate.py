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
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm
from transformers.hf_argparser import HfArg

from ser_hf.audio import AudioError
from ser_hf.classifier import EmotionClassifier
from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.evaluation.metrics import summary
from ser_hf.evaluation.runs import RunError, create_run, finish_run, prediction_frame, write_run_json
from ser_hf.hub import trained_on
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from train.arguments import parse_arguments
from train.common import UsageError, names_of

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset


@dataclass
class EvaluateArguments:
    """Which model is tested on what."""

    _argument_group_name = "test: which model on what"

    model: str = field(metadata={"help": "Model folder or Hub id."})
    output_dir: str = field(metadata={"help": "Run folder to write, e.g. runs/whisper-cross-emodb."})
    corpora: list[str] = field(metadata={"help": "Corpora to test on, e.g. emodb."})
    data_dir: str | None = HfArg(
        default=None, help="Folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)."
    )
    batch_size: int = HfArg(default=16, help="Windows per batch.")
    device: str | None = HfArg(default=None, help="Where a neural model runs, e.g. cuda.")
    overwrite_output_dir: bool = HfArg(default=False, help="Replace the run folder if it exists.")

    def __post_init__(self) -> None:
        self.corpora = names_of(self.corpora)


ARGUMENTS = (EvaluateArguments,)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0, or 2 for what the message says)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        (arguments,) = parse_arguments(ARGUMENTS, argv, "python -m train.evaluate", __doc__)
        evaluate(arguments, command=shlex.join(["python", "-m", "train.evaluate", *argv]))
    except (UsageError, CorpusError, RunError, ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(arguments: EvaluateArguments, command: str) -> dict[str, Any]:
    """Predict every clip of the corpora, write the run folder and print its figures; returns the metrics."""
    classifier = EmotionClassifier.from_pretrained(arguments.model, device=arguments.device)
    unknown = [label for label in classifier.labels if label not in LABELS]
    if unknown:
        raise UsageError(
            f"{arguments.model} has labels that are not ours: {', '.join(unknown)} (ours: {', '.join(LABELS)})"
        )
    seen = trained_on(arguments.model)
    overlap = sorted(set(seen or ()) & set(arguments.corpora))
    if overlap:
        print(f"warning: {arguments.model} was trained on {', '.join(overlap)}: not a test there", file=sys.stderr)
    elif not seen:
        print(
            f"warning: config.json of {arguments.model} names no training corpora; if these were among them, the "
            "figures are not a test",
            file=sys.stderr,
        )
    tables = {name: load_corpus(name, arguments.data_dir) for name in arguments.corpora}
    # Before predicting: a clip that is lost meanwhile is reported as failed.
    fingerprints = {name: corpus_fingerprint(table) for name, table in tables.items()}
    folder = create_run(arguments.output_dir, overwrite=arguments.overwrite_output_dir)
    started = time.perf_counter()
    frames, failed = [], []
    for name, table in tables.items():
        frame, errors = predict_table(classifier, table, arguments.batch_size, name)
        if len(frame):
            frames.append(frame)
        failed += errors
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


def predict_table(
    classifier: EmotionClassifier, table: Dataset, batch_size: int, name: str
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """The predictions for all clips of a clip table (fold 0), and the clips that could not be used, with the reason."""
    audio = (row["audio"] for row in table.select_columns("audio"))
    predictions = classifier.predict_many(audio, batch_size=batch_size)
    used, probabilities, failed = [], [], []
    for index, prediction in enumerate(tqdm(predictions, total=len(table), desc=name, unit="clip")):
        if isinstance(prediction, AudioError):
            failed.append({"clip": table[index]["clip"], "error": str(prediction)})
        else:
            used.append(index)
            probabilities.append([prediction.scores.get(label, 0.0) for label in LABELS])
    return prediction_frame(table, used, 0, np.reshape(probabilities, (len(used), len(LABELS)))), failed


if __name__ == "__main__":
    sys.exit(main())
