"""Tune, fit and test a classical model on a protocol's folds, and write a run folder.

Examples:

    python -m train.baseline --model svm --protocol actor --output_dir runs/svm-actor
    python -m train.baseline --recipe train/recipes/svm-smote.yaml --protocol random
    python -m train.baseline --model knn --features mfcc,pitch --folds 0 --output_dir runs/knn-quick

With ``--protocol full`` nothing is tested: the model is fitted on every clip and written as a model folder. All other
protocols also write ``importance.json``, the permutation importance of each feature group on the test clips.
Exit status: 0, 1 if results could not be written, 2 if arguments or data allow no run.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers.hf_argparser import HfArg

from ser_hf.audio import AudioError
from ser_hf.corpora import CorpusError, corpus_fingerprint
from ser_hf.evaluation.metrics import summary
from ser_hf.evaluation.runs import RunError, create_run, finish_run, prediction_frame, write_run_json
from ser_hf.features import GROUPS, MissingPackageError, feature_names
from ser_hf.features.table import default_cache_dir, extract_table
from ser_hf.hub.evidence import CardError
from ser_hf.models import ModelError
from ser_hf.models.classical import ClassicalModel, fit_classical, group_importance, save_classical
from ser_hf.models.families import FAMILIES
from ser_hf.protocols.folds import Fold, SplitError
from ser_hf.utils.files import replacing_folder, write_json
from train.arguments import parse_arguments
from train.common import (
    DataArguments,
    UsageError,
    chosen_names,
    load_clip_table,
    make_data_folds,
    milliseconds_per_clip,
    read_reference,
)
from train.publishing.describe import describe_model

IMPORTANCE = "importance.json"
TUNED = ("parameters", "temperature", "answer_threshold", "cross_validation_accuracy")  # kept in run.json


@dataclass
class BaselineArguments:
    """Which classical model is fitted on which features."""

    _argument_group_name = "model: what is fitted on which features"

    model: str = HfArg(
        default="svm",
        help="Kind of model; 'svm-textbook' is the usual tutorial's SVC on MFCC statistics. All are tuned.",
        metadata={"choices": tuple(FAMILIES)},
    )
    output_dir: str | None = HfArg(default=None, help="Run folder (default: runs/MODEL-PROTOCOL).")
    overwrite_output_dir: bool = HfArg(default=False, help="Replace a run folder that exists.")
    features: str | None = HfArg(
        default=None, help=f"Feature groups, separated by commas, out of: {', '.join(GROUPS)} (default: the model's)."
    )
    smote: bool = HfArg(default=False, help="Oversample rare emotions by synthetic clips (SMOTE) in training.")
    importance_repeats: int = HfArg(
        default=5, help="Permutations of each feature group over the test clips, for importance.json (0: none)."
    )
    seed: int = HfArg(default=0, help="Seed of whatever is random in a model or in its tuning.")
    n_jobs: int = HfArg(default=-1, help="Processes (-1: one per core).")
    no_cache: bool = HfArg(
        default=False, help="Neither read nor write cached features ($SER_HF_CACHE, else ~/.cache/ser_hf)."
    )
    reference_run: str | None = HfArg(
        default=None, help="With --protocol full: runs, separated by commas, whose figures go into the model's card."
    )

    @property
    def reference_runs(self) -> list[str]:
        """The runs that ``reference_run`` names."""
        return [name.strip() for name in (self.reference_run or "").split(",") if name.strip()]

    @property
    def groups(self) -> list[str]:
        """The chosen feature groups, or those of the model."""
        if self.features is None:
            return list(FAMILIES[self.model].groups)
        groups = list(dict.fromkeys(chosen_names(self.features, list(GROUPS), "--features")))
        try:
            feature_names(groups)
        except MissingPackageError as error:
            raise UsageError(f"--features: {error}") from None
        return groups


ARGUMENTS = (DataArguments, BaselineArguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 (writing failed) or 2 (no run is possible)."""
    try:
        data, baseline = parse_arguments(ARGUMENTS, argv, "python -m train.baseline", __doc__)
        run(data, baseline)
    except (UsageError, CorpusError, SplitError, RunError, ModelError, AudioError, CardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(data: DataArguments, baseline: BaselineArguments) -> Path:
    """Fit and test each fold of the protocol, then write predictions, metrics and plots into the run folder."""
    started = time.perf_counter()
    groups, repeats = baseline.groups, baseline.importance_repeats
    if repeats < 0:
        raise UsageError(f"--importance_repeats is 0 or more, not {repeats}")
    for run_folder in baseline.reference_runs:
        check_reference(run_folder, data, baseline)
    table = load_clip_table(data)
    folds = make_data_folds(table, data)
    fingerprint = corpus_fingerprint(table)  # first of all: a clip may be gone later
    folder = create_run(
        baseline.output_dir or f"runs/{baseline.model}-{data.protocol}", overwrite=baseline.overwrite_output_dir
    )
    cache_dir = None if baseline.no_cache else default_cache_dir()
    features = extract_table(table["audio"], groups, n_jobs=baseline.n_jobs, cache_dir=cache_dir)
    extracted = time.perf_counter()
    print(f"{features.shape[1]} features of {len(table)} clips in {extracted - started:.0f} s", flush=True)

    frames, records, importances = [], [], {}
    for fold in folds:
        model, record = fit_fold(table, features, fold, data.protocol, baseline)
        records.append(record)
        line = f"Fold {fold.index}: cross-validation {record['cross_validation_accuracy']:.3f}"
        if len(fold.test):
            model_folder = save_classical(model, folder / f"fold{fold.index}" / "model")
            record["model_bytes"] = sum(path.stat().st_size for path in model_folder.iterdir())
            record["milliseconds_per_clip"] = milliseconds_per_clip(model, table.select(fold.test)["audio"])
            tested = features.iloc[fold.test]
            scores = model.predict_features(tested, table.features["emotion"].names)
            frame = prediction_frame(table, fold.test, fold.index, scores)
            frames.append(frame)
            if repeats:
                importances[fold.index] = group_importance(
                    model, tested, frame["emotion"], groups, baseline.seed, repeats
                )
            line += f", test {(frame['emotion'] == frame['predicted']).mean():.3f}"
        tuned = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in record["parameters"].items()
        )
        print(f"{line}, {record['seconds']:.0f} s ({tuned})", flush=True)
    write_run_json(
        folder,
        command="train.baseline",
        arguments={**dataclasses.asdict(data), **dataclasses.asdict(baseline), "features": ",".join(groups)},
        protocol=data.protocol,
        model=baseline.model,
        seed=baseline.seed,
        corpus_fingerprint=fingerprint,
        folds=records,
        extraction_seconds=round(extracted - started, 1),
        seconds=round(time.perf_counter() - started, 1),
    )
    if importances:
        write_json(folder / IMPORTANCE, importance_record(importances, repeats))
    if frames:
        print(summary(finish_run(folder, frames)))
    else:
        with replacing_folder(folder / "model") as part:
            save_classical(model, part)
            if baseline.reference_runs:
                describe_model(part, baseline.reference_runs, f"ser-{baseline.model}")
    print(f"Written to {folder} in {time.perf_counter() - started:.0f} s")
    return folder


def fit_fold(
    table: Dataset, features: pd.DataFrame, fold: Fold, protocol: str, baseline: BaselineArguments
) -> tuple[ClassicalModel, dict[str, Any]]:
    """The model of one fold, and its record in ``run.json``: the tuned parameters and the seconds it took."""
    started = time.perf_counter()
    # Tuning holds out speakers by itself, so the validation speakers of a fold train too.
    rows = np.sort(np.concatenate([fold.train, fold.validation]))
    part = table.select_columns(["emotion", "corpus", "speaker"]).select(rows).to_pandas()
    speakers = None if protocol == "random" else (part["corpus"] + "/" + part["speaker"]).to_numpy()
    model = fit_classical(
        baseline.model,
        features.iloc[rows],
        part["emotion"].to_numpy(),
        speakers,
        baseline.groups,
        seed=baseline.seed,
        n_jobs=baseline.n_jobs,
        smote=baseline.smote,
        label_names=table.features["emotion"].names,
    )
    model.config["trained_on"] = list(dict.fromkeys(part["corpus"]))
    tuned = {key: model.config[key] for key in TUNED if key in model.config}
    return model, {"index": fold.index, **tuned, "seconds": round(time.perf_counter() - started, 1)}


def importance_record(importances: dict[int, dict[str, tuple[float, float]]], repeats: int) -> dict[str, Any]:
    """The content of ``importance.json``, the most important group first.

    ``drop`` and ``deviation`` of a group are mean and deviation over the folds, those of a fold over its permutations.
    """
    groups: dict[str, dict[str, Any]] = {}
    for group in next(iter(importances.values())):
        folds = [
            {"fold": index, "drop": of_fold[group][0], "deviation": of_fold[group][1]}
            for index, of_fold in importances.items()
        ]
        drops = [fold["drop"] for fold in folds]
        groups[group] = {"drop": float(np.mean(drops)), "deviation": float(np.std(drops)), "folds": folds}
    return {
        "measure": "drop of accuracy on the tested clips when all columns of a feature group are permuted together",
        "repeats": repeats,
        "groups": dict(sorted(groups.items(), key=lambda item: -item[1]["drop"])),
    }


def check_reference(run_folder: str, data: DataArguments, baseline: BaselineArguments) -> None:
    """Refuse a reference run that is missing or of another kind of model, before anything is computed."""
    if data.protocol != "full":
        raise UsageError("--reference_run goes with --protocol full, which tests nothing itself")
    family = read_reference(run_folder).get("model")
    if family != baseline.model:
        raise UsageError(f"--reference_run {run_folder} is a run of {family}, not of {baseline.model}")


if __name__ == "__main__":
    sys.exit(main())
