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
from datasets import Dataset
from huggingface_hub import HfApi
from safetensors import SafetensorError
from tqdm import tqdm

from ser_hf.audio import AudioError, load_audio
from ser_hf.command_line import noting, prints_errors
from ser_hf.corpora import corpus_fingerprint
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
from ser_hf.models.building import pretrained_folder
from ser_hf.models.onnx_model import export_onnx
from ser_hf.protocols.folds import Fold
from ser_hf.utils.files import replacing_folder
from train.arguments import parse_arguments
from train.calibration import FOLD, Calibration, calibrated, cross_fit, earlier_calibration
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, read_references, require
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments, check_arguments
from train.finetune_data import Experiment
from train.finetune_fold import run_fold
from train.publish import publish_model
from train.publishing.model import CheckError, describe_model

ARGUMENTS = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
# Those that a run keeps when it is resumed. A base model may lie elsewhere by then.
OF_MODEL = {field.name for kind in (ModelArguments, AugmentationArguments) for field in fields(kind)}
OF_TRAINING = {field.name for field in fields(FinetuneTrainingArguments)} & set(IN_CARD)
DECIDING = sorted({"protocol"} | OF_MODEL - {"base_model", "reference_run", "export_onnx"} | OF_TRAINING)
RESUME = "Finished folds are kept; after that, the same command with --resume_from_checkpoint true resumes the run"


@prints_errors(HubError, CheckError, OSError, SafetensorError)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 0, 1 (pushing or writing failed) or 2 (no run is possible)."""
    run(*parse_arguments(ARGUMENTS, argv, "python -m train.finetune", __doc__))


def run(
    data: DataArguments, model: ModelArguments, augmentation: AugmentationArguments, training: FinetuneTrainingArguments
) -> Path:
    """Train and test each fold of the protocol, then write predictions, metrics and plots into the run folder."""
    # Whatever may be wrong is found before the training.
    check_arguments(model, augmentation, training)
    references = read_references(model.reference_run)
    for reference, facts in references.items():
        is_network = facts.get("command") != "train.baseline"
        require(is_network, f"--reference_run {reference} is a run of train.baseline, not of a network")
    training.output_dir = training.output_dir or f"runs/{model.family}-{data.protocol}-seed{training.seed}"
    folder, resume = Path(training.output_dir), bool(training.resume_from_checkpoint)
    hub = log_in_to_push(data, training, list(references)) if training.push_to_hub else None
    table = load_clip_table(data)
    folds, calibrations = folds_to_train(table, data, model, list(references))
    experiment = Experiment(table, [], model, augmentation, training)
    for fold in folds:
        experiment.check(fold)

    arguments = asdict(data) | asdict(model) | asdict(augmentation) | training.to_dict()
    if model.base_model:  # fetched once, so that all folds start from the same commit of it
        model.base_model = str(pretrained_folder(model.base_model))
    with noting(RESUME, AudioError, OSError, SafetensorError):
        with training.main_process_first(local=False):  # where it fails, its launcher ends the other processes
            if training.process_index == 0:
                start_run(folder, table, arguments, resume)
        experiment.clips = load_clips(table)
        folders = [folder / f"fold{fold.index}" for fold in folds]
        for number, (fold, fold_folder) in enumerate(zip(folds, folders, strict=True), start=1):
            if not (resume and (fold_folder / FOLD).exists()):
                if training.process_index == 0:
                    print(f"{fold} ({number} of {len(folds)}): {len(fold.train)} clips to train on", flush=True)
                run_fold(experiment, fold, fold_folder, calibrations.get(fold.index, Calibration()))
            if training.process_index == 0:  # only now: training cannot be resumed from half a checkpoint
                for checkpoint in fold_folder.glob("checkpoint-*"):
                    shutil.rmtree(checkpoint)
        if training.process_index != 0:
            return folder
        if model.calibrate and not calibrations and not any(len(fold.validation) for fold in folds):
            cross_fit(folders, [fold.name not in data.test_corpora for fold in folds])
        write_results(folder, folders, data, model, training)
        if len(folds) == 1:
            # A model of all clips is measured by earlier runs, that of a single fold by this very run.
            measured_by = list(references) if data.protocol == "full" else [folder]
            write_model(folder, folders[0] / "model", model, measured_by)
    print(f"Written to {folder}", flush=True)
    if hub is not None:
        api, repo_id = hub
        with noting("The trained model is kept; python -m train.publish pushes it, too", HubError, CheckError):
            publish_model(api, folder / "model", repo_id, private=bool(training.hub_private_repo))
    return folder


def folds_to_train(
    table: Dataset, data: DataArguments, model: ModelArguments, references: list[str]
) -> tuple[list[Fold], dict[int, Calibration]]:
    """The folds, which train on their validation clips unless these are held out.

    Returns:
        Folds, and by fold index the calibrations of an earlier run; empty where this run fits its own.

    Raises:
        UsageError: there is nothing to calibrate the model on.
    """
    folds = make_data_folds(table, data)
    alone = len(folds) == 1 and model.calibrate and not references  # with no other fold to be calibrated on
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
    return folds, {
        fold.index: earlier_calibration(one, data.protocol, fold.index) for one in references[:1] for fold in folds
    }


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


def write_results(
    folder: Path,
    folders: Sequence[Path],
    data: DataArguments,
    model: ModelArguments,
    training: FinetuneTrainingArguments,
) -> None:
    """Complete ``run.json`` and, unless all clips trained, write the calibrated predictions of all folds."""
    records = [json.loads((one / FOLD).read_text(encoding="utf-8")) for one in folders]
    write_run_json(
        folder,
        command="train.finetune",
        protocol=data.protocol,
        model=model.family,
        seed=training.seed,
        folds=records,
        seconds=sum(record["seconds"] for record in records),
        base_model_commit=model.base_model and commit_of(Path(model.base_model)),
    )
    if data.protocol == "full":
        return
    frames = [
        calibrated(read_predictions(one), Calibration(record["temperature"], record["answer_threshold"]))
        for record, one in zip(records, folders, strict=True)
    ]
    metrics = finish_run(folder, frames)
    for index, figures in metrics["per_fold"].items():
        print(f"Fold {index}: accuracy {figures['accuracy']:.3f}")
    print(summary(metrics))


def write_model(folder: Path, trained: Path, model: ModelArguments, measured_by: Sequence[str | Path]) -> None:
    """Write ``model/``, what is published of a run: the model of its only fold, with the figures of some runs."""
    with replacing_folder(folder / "model") as part:
        shutil.copytree(trained, part, dirs_exist_ok=True)
        if model.export_onnx:
            export_onnx(part)
        if measured_by:
            describe_model(part, measured_by, f"ser-{model.family}")


def log_in_to_push(
    data: DataArguments, training: FinetuneTrainingArguments, references: list[str]
) -> tuple[HfApi, str]:
    """The Hub's client and the repository to push to, checked before the training rather than after it."""
    if data.protocol == "full":
        require(references, "--push_to_hub with --protocol full needs --reference_run, for the model card")
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
