"""Fine-tune a pretrained encoder, or train an architecture from scratch, on a protocol's folds; write a run folder.

Examples:

    python -m train.finetune --recipe train/recipes/whisper.yaml --output_dir runs/whisper-actor
    python -m train.finetune --recipe train/recipes/whisper.yaml --folds 0 --max_steps 50 --output_dir runs/quick
    python -m train.finetune --recipe train/recipes/whisper.yaml --protocol loco --corpora all-training \\
        --test_corpora savee --output_dir runs/whisper-loco
    python -m train.finetune --recipe train/recipes/cnn.yaml --output_dir runs/cnn-actor

--resume_from_checkpoint true resumes a run that was interrupted. Exit status: 0, 1 if the push to the Hub failed or
results could not be written, 2 if arguments or data allow no run.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from huggingface_hub import HfApi
from safetensors import SafetensorError
from tqdm import tqdm

from ser_hf.audio import AudioError, load_audio
from ser_hf.corpora import CorpusError, corpus_fingerprint
from ser_hf.evaluation.metrics import summary
from ser_hf.evaluation.runs import (
    RUN,
    RunError,
    create_run,
    finish_run,
    read_predictions,
    read_run_json,
    write_run_json,
)
from ser_hf.hub import HubError, commit_of, log_in
from ser_hf.hub.card_arguments import ARGUMENTS as IN_CARD
from ser_hf.hub.evidence import CardError
from ser_hf.models import ModelError
from ser_hf.models.building import pretrained_folder
from ser_hf.models.onnx_model import export_onnx
from ser_hf.protocols.folds import Fold, SplitError
from ser_hf.utils.files import replacing_folder
from train.arguments import parse_arguments
from train.calibration import FOLD, Calibration, calibrated, cross_fit, earlier_calibration
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, read_reference, require
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments, check_arguments
from train.finetune_data import Experiment
from train.finetune_fold import run_fold
from train.publish import publish_model
from train.publishing.checks import CheckError
from train.publishing.describe import describe_model

ARGUMENTS = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
# Those that a run keeps when it is resumed. A base model may lie elsewhere by then.
OF_MODEL = {field.name for kind in (ModelArguments, AugmentationArguments) for field in fields(kind)}
OF_TRAINING = {field.name for field in fields(FinetuneTrainingArguments)} & set(IN_CARD)
DECIDING = sorted({"protocol"} | OF_MODEL - {"base_model", "reference_run", "export_onnx"} | OF_TRAINING)
RESUME = "Finished folds are kept; after that, the same command with --resume_from_checkpoint true resumes the run"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 (pushing or writing failed) or 2 (no run is possible)."""
    try:
        arguments = parse_arguments(ARGUMENTS, argv, "python -m train.finetune", __doc__)
        run(*arguments)
    except (UsageError, CorpusError, SplitError, RunError, ModelError, CardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AudioError as error:  # a clip that could be read when the command began
        print(f"error: {error}\n{RESUME}", file=sys.stderr)
        return 2
    except (HubError, CheckError) as error:
        print(f"error: {error}\nThe trained model is kept; python -m train.publish pushes it, too", file=sys.stderr)
        return 1
    except (OSError, SafetensorError) as error:  # a full disk, a folder that may not be written to
        print(f"error: {error}\n{RESUME}", file=sys.stderr)
        return 1
    return 0


def run(
    data: DataArguments, model: ModelArguments, augmentation: AugmentationArguments, training: FinetuneTrainingArguments
) -> Path:
    """Train and test each fold of the protocol, then write predictions, metrics and plots into the run folder."""
    check_arguments(model, augmentation, training)
    measured_by = model.reference_runs if data.protocol == "full" else []
    for reference in measured_by:
        is_network = read_reference(reference).get("command") != "train.baseline"
        require(is_network, f"--reference_run {reference} is a run of train.baseline, not of a network")
    training.output_dir = training.output_dir or f"runs/{model.family}-{data.protocol}-seed{training.seed}"
    folder, resume = Path(training.output_dir), bool(training.resume_from_checkpoint)
    hub = log_in_to_push(data, model, training) if training.push_to_hub else None
    table = load_clip_table(data)
    folds, calibrations = folds_to_train(table, data, model)
    experiment = Experiment(table, [], model, augmentation, training)
    for fold in folds:
        experiment.check(fold)
    # Once, so that all folds start from the same commit of it.
    base = pretrained_folder(model.base_model) if model.base_model else None
    arguments = asdict(data) | asdict(model) | asdict(augmentation) | training.to_dict()
    is_main = training.process_index == 0
    refused: list[RunError | CorpusError | None] = [None]
    if is_main:
        try:
            start_run(folder, table, arguments, resume)
        except (RunError, CorpusError) as error:
            refused = [error]
    broadcast_object_list(refused)  # all processes end with the same error
    if refused[0] is not None:
        raise refused[0]
    if base is not None:
        model.base_model = str(base)
    experiment.clips = load_clips(table)
    folders = [folder / f"fold{fold.index}" for fold in folds]
    for position, (fold, fold_folder) in enumerate(zip(folds, folders, strict=True)):
        if not (resume and (fold_folder / FOLD).exists()):
            if is_main:
                print(f"{fold} ({position + 1} of {len(folds)}): {len(fold.train)} clips to train on", flush=True)
            run_fold(experiment, fold, fold_folder, calibrations.get(fold.index, Calibration()))
        if is_main:  # not before fold.json is written: training cannot be resumed from half a checkpoint
            for checkpoint in fold_folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
    if not is_main:
        return folder
    if model.calibrate and not calibrations and not any(len(fold.validation) for fold in folds):
        cross_fit(folders, [fold.name not in data.test_corpora for fold in folds])
    records = [json.loads((one / FOLD).read_text(encoding="utf-8")) for one in folders]
    write_run_json(
        folder,
        command="train.finetune",
        protocol=data.protocol,
        model=model.family,
        seed=training.seed,
        folds=records,
        seconds=sum(record["seconds"] for record in records),
        base_model_commit=base and commit_of(base),
    )
    frames = [
        calibrated(read_predictions(one), Calibration(record["temperature"], record["answer_threshold"]))
        for fold, record, one in zip(folds, records, folders, strict=True)
        if len(fold.test)
    ]
    if frames:
        metrics = finish_run(folder, frames)
        for index, figures in metrics["per_fold"].items():
            print(f"Fold {index}: accuracy {figures['accuracy']:.3f}")
        print(summary(metrics))
    if len(folds) == 1:
        with replacing_folder(folder / "model") as part:
            shutil.copytree(folders[0] / "model", part, dirs_exist_ok=True)
            if model.export_onnx:
                export_onnx(part)
            # The model of a single fold is measured by this very run.
            if measured_by or frames:
                describe_model(part, measured_by or [folder], f"ser-{model.family}")
    print(f"Written to {folder}", flush=True)
    if hub is not None:
        api, repo_id = hub
        publish_model(api, folder / "model", repo_id, private=bool(training.hub_private_repo))
    return folder


def folds_to_train(
    table: Dataset, data: DataArguments, model: ModelArguments
) -> tuple[list[Fold], dict[int, Calibration]]:
    """The folds, which train on their validation clips unless these are held out.

    Returns:
        Folds, and by fold index the calibrations of an earlier run; empty where this run fits its own.

    Raises:
        UsageError: there is nothing to calibrate the model on.
    """
    folds = make_data_folds(table, data)
    alone = len(folds) == 1 and model.calibrate and not model.reference_runs  # with no other fold to be calibrated on
    if not model.hold_out_validation and not alone:
        folds = [
            replace(fold, train=np.union1d(fold.train, fold.validation), validation=fold.validation[:0])
            for fold in folds
        ]
    if any(len(fold.validation) for fold in folds):
        return folds, {}
    require(
        not alone,
        "a single fold without validation clips has nothing to be calibrated on: name a run with --reference_run, or "
        "--calibrate false",
    )
    reference = next(iter(model.reference_runs), None)
    return folds, {one.index: earlier_calibration(reference, data.protocol, one.index) for one in folds if reference}


def start_run(folder: Path, table: Dataset, arguments: dict[str, Any], resume: bool) -> None:
    """Create the run folder, or refuse to resume what was started on other clips or with other arguments.

    Raises:
        RunError: it cannot be created, a clip was lost, added or changed, or an argument of the model differs.
    """
    fingerprint = corpus_fingerprint(table)
    create_run(folder, overwrite=arguments["overwrite_output_dir"], resume=resume)
    record = read_run_json(folder)
    remedy = "or start from scratch with --overwrite_output_dir true"
    if record.get("corpus_fingerprint", fingerprint) != fingerprint:  # predictions go by the rows of the table
        raise RunError(
            f"{folder} was started on other clips: one was lost, added or changed since, or --data_dir or --corpora "
            f"differ. Restore them, {remedy}"
        )
    earlier = record.get("arguments", {})
    changed = [name for name in DECIDING if name in earlier and earlier[name] != arguments[name]]
    if changed:
        listed = ", ".join(f"--{name} {earlier[name]} and not {arguments[name]}" for name in changed)
        raise RunError(
            f"{folder} was started with {listed}. Resume with the same arguments (--recipe {folder / RUN}), {remedy}"
        )
    write_run_json(folder, corpus_fingerprint=fingerprint, arguments=arguments)


def log_in_to_push(
    data: DataArguments, model: ModelArguments, training: FinetuneTrainingArguments
) -> tuple[HfApi, str]:
    """The Hub's client and the repository to push to, checked before the training rather than after it."""
    if data.protocol == "full":
        require(model.reference_runs, "--push_to_hub with --protocol full needs --reference_run, for the model card")
    else:
        single = len(data.fold_indices or ()) == 1
        require(single, "--push_to_hub pushes one model: take --protocol full, or a single fold as in --folds 0")
    name = training.hub_model_id or Path(training.output_dir).name
    try:
        api = log_in([name] if "/" in name else [], training.hub_token)
    except HubError as error:
        raise UsageError(f"--push_to_hub: {error}") from error
    return api, name if "/" in name else f"{api.whoami()['name']}/{name}"


def load_clips(table: Dataset) -> list[np.ndarray]:
    """Decode every clip of a table to float32 mono at 16 kHz, in the order of its rows."""
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(load_audio, table["audio"]), total=len(table), desc="Reading clips", unit="clip"))


if __name__ == "__main__":
    sys.exit(main())
