"""Tune, fit and test a classical model on a protocol's folds, and write a run folder.

Examples:

    python -m train.baseline --model svm --protocol actor --output_dir runs/svm-actor
    python -m train.baseline --recipe train/recipes/svm-smote.yaml --protocol random
    python -m train.baseline --model knn --features mfcc,pitch --folds 0 --output_dir runs/knn-quick
    python -m train.baseline --dataset my_clips --features embeddings --output_dir runs/mine

With ``--protocol full`` nothing is tested: the model is fitted on every clip and written as a model folder. All other
protocols also write ``importance.json``, the permutation importance of each feature group on the test clips.
``--features embeddings`` fits a logistic regression on the embeddings of a network, and saves it as that network with a
new head.
Exit status: 0, 1 if results could not be written, 2 if arguments or data allow no run.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from ser_hf.command_line import prints_errors
from ser_hf.corpora import corpus_fingerprint
from ser_hf.evaluation.metrics import summary
from ser_hf.evaluation.runs import create_run, finish_run, prediction_frame, write_run_json
from ser_hf.features import GROUPS, feature_names
from ser_hf.features.table import default_cache_dir, extract_table
from ser_hf.models.classical import ClassicalModel, fit_classical, group_importance, save_classical
from ser_hf.models.families import FAMILIES
from ser_hf.protocols.folds import Fold
from ser_hf.utils.files import replacing_folder, write_json
from train.arguments import parse_arguments
from train.common import (
    DataArguments,
    chosen_names,
    load_clip_table,
    make_data_folds,
    milliseconds_per_clip,
    option,
    read_references,
    require,
)
from train.embeddings import EMBEDDINGS, FAMILY, embedding_table, load_network, save_with_head
from train.publishing.model import describe_model

IMPORTANCE = "importance.json"
TUNED = ("parameters", "temperature", "answer_threshold", "cross_validation_accuracy")  # kept in run.json


@dataclass
class BaselineArguments:
    """Which classical model is fitted on which features."""

    _argument_group_name = "model: what is fitted on which features"

    model: str = option(
        "svm",
        "Kind of model; 'svm-textbook' is the usual tutorial's SVC on MFCC statistics. All are tuned.",
        choices=tuple(FAMILIES),
    )
    output_dir: str | None = option(None, "Run folder (default: runs/MODEL-PROTOCOL).")
    overwrite_output_dir: bool = option(False, "Replace a run folder that exists.")
    features: str | None = option(
        None, f"'embeddings', or feature groups out of: {', '.join(GROUPS)} (default: the model's)."
    )
    base_model: str = option("models/ser-whisper", "With --features embeddings: the network that gives them.")
    smote: bool = option(False, "Oversample rare emotions by synthetic clips (SMOTE) in training.")
    importance_repeats: int = option(
        5, "Permutations of each feature group over the test clips, for importance.json (0: none)."
    )
    seed: int = option(0, "Seed of whatever is random in a model or in its tuning.")
    n_jobs: int = option(-1, "Processes (-1: one per core).")
    no_cache: bool = option(False, "Neither read nor write cached features ($SER_HF_CACHE, else ~/.cache/ser_hf).")
    reference_run: str | None = option(
        None, "With --protocol full: runs, separated by commas, whose figures go into the model's card."
    )

    def __post_init__(self) -> None:
        if self.features == EMBEDDINGS:
            self.model = FAMILY

    @property
    def groups(self) -> list[str]:
        """The chosen feature groups, or those of the model."""
        if self.features is None:
            return list(FAMILIES[self.model].groups)
        if self.features == EMBEDDINGS:
            return [EMBEDDINGS]
        groups = list(dict.fromkeys(chosen_names(self.features, list(GROUPS), "--features")))
        feature_names(groups)  # fails where a package is missing
        return groups


ARGUMENTS = (DataArguments, BaselineArguments)


@prints_errors(OSError)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 0, 1 (writing failed) or 2 (no run is possible)."""
    run(*parse_arguments(ARGUMENTS, argv, "python -m train.baseline", __doc__))


def run(data: DataArguments, baseline: BaselineArguments) -> Path:
    """Fit and test each fold of the protocol, then write predictions, metrics and plots into the run folder."""
    started = time.perf_counter()
    groups, references = baseline.groups, check_arguments(data, baseline)
    network = load_network(baseline.base_model) if groups == [EMBEDDINGS] else None
    table = load_clip_table(data)
    folds = make_data_folds(table, data)
    fingerprint = corpus_fingerprint(table)  # first of all: a clip may be gone later
    folder = create_run(
        baseline.output_dir or f"runs/{baseline.model}-{data.protocol}", overwrite=baseline.overwrite_output_dir
    )
    if network is None:
        cache_dir = None if baseline.no_cache else default_cache_dir()
        features = extract_table(table["audio"], groups, n_jobs=baseline.n_jobs, cache_dir=cache_dir)
        save: Callable[..., Path] = save_classical
    else:
        features, distances = embedding_table(network, table["audio"])
        save = partial(save_with_head, network=network, distances=distances)
    extracted = time.perf_counter()
    print(f"{features.shape[1]} features of {len(table)} clips in {extracted - started:.0f} s", flush=True)

    frames, records, importances = [], [], {}
    for fold in folds:
        model, record = fit_fold(table, features, fold, data.protocol, baseline)
        records.append(record)
        line = f"Fold {fold.index}: cross-validation {record['cross_validation_accuracy']:.3f}"
        if len(fold.test):
            model_folder = save(model, folder=folder / f"fold{fold.index}" / "model")
            record["model_bytes"] = sum(path.stat().st_size for path in model_folder.iterdir())
            if network is None:
                record["milliseconds_per_clip"] = milliseconds_per_clip(model, table.select(fold.test)["audio"])
            tested = features.iloc[fold.test]
            scores = model.predict_features(tested, table.features["emotion"].names)
            frame = prediction_frame(table, fold.test, fold.index, scores)
            frames.append(frame)
            if baseline.importance_repeats and network is None:
                importances[fold.index] = group_importance(
                    model, tested, frame["emotion"], groups, baseline.seed, baseline.importance_repeats
                )
            line += f", test {(frame['emotion'] == frame['predicted']).mean():.3f}"
        print(f"{line}, {record['seconds']:.0f} s ({words_of(record['parameters'])})", flush=True)
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
        write_json(folder / IMPORTANCE, importance_record(importances, baseline.importance_repeats))
    if frames:
        print(summary(finish_run(folder, frames)))
    else:
        with replacing_folder(folder / "model") as part:
            save(model, folder=part)
            if references:
                describe_model(part, references, f"ser-{data.corpora[0] if data.dataset else baseline.model}")
    print(f"Written to {folder} in {time.perf_counter() - started:.0f} s")
    return folder


def check_arguments(data: DataArguments, baseline: BaselineArguments) -> list[str]:
    """Refuse wrong arguments before anything is computed; returns the reference runs."""
    require(baseline.importance_repeats >= 0, "--importance_repeats must be 0 or more")
    references = read_references(baseline.reference_run)
    is_full = data.protocol == "full" or not references
    require(is_full, "--reference_run goes with --protocol full, which tests nothing itself")
    for run, facts in references.items():
        family = facts.get("model")
        require(family == baseline.model, f"--reference_run {run} is a run of {family}, not of {baseline.model}")
    return list(references)


def words_of(parameters: dict[str, Any]) -> str:
    """Tuned parameters, as a line of the log has them."""
    numbers = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in parameters.items()}
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def fit_fold(
    table: Dataset, features: pd.DataFrame, fold: Fold, protocol: str, baseline: BaselineArguments
) -> tuple[ClassicalModel, dict[str, Any]]:
    """The model of one fold, and its record in ``run.json``: the tuned parameters and the seconds it took."""
    started = time.perf_counter()
    # Tuning holds out speakers by itself, so the validation speakers of a fold train too.
    rows = np.sort(np.concatenate([fold.train, fold.validation]))
    part = table.select_columns(["emotion", "corpus", "speaker"]).select(rows).to_pandas()
    known = protocol != "random" and part["speaker"].notna().all()
    speakers = (part["corpus"] + "/" + part["speaker"]).to_numpy() if known else None
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


if __name__ == "__main__":
    sys.exit(main())
