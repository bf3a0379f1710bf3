"""Fine-tune a checkpoint, or train an architecture from scratch, on a protocol's folds and write a run folder.

Examples:

    python -m train.finetune --recipe train/recipes/whisper.yaml --output_dir runs/whisper-actor-seed42
    python -m train.finetune --recipe train/recipes/whisper.yaml --folds 0 --num_train_epochs 2 --output_dir runs/quick
    python -m train.finetune --recipe train/recipes/cnn.yaml --output_dir runs/cnn-actor
    python -m train.finetune --recipe train/recipes/whisper.yaml --protocol cross --train_corpora ravdess \\
        --test_corpora emodb --output_dir runs/whisper-cross

A run that broke off goes on with --resume_from_checkpoint true. Exit status: 0, 1 if the push to the Hub failed or
results could not be written, 2 if arguments or data allow no run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from huggingface_hub import HfApi
from safetensors import SafetensorError
from tqdm import tqdm

from ser_hf.audio import AudioError, load_audio
from ser_hf.card_arguments import ARGUMENTS as TOLD_IN_CARD
from ser_hf.corpora import CorpusError, corpus_fingerprint
from ser_hf.evidence import CardError
from ser_hf.files import replacing_folder
from ser_hf.hub import HubError, commit_of, log_in
from ser_hf.metrics import summary
from ser_hf.models import ModelError
from ser_hf.models.building import pretrained_folder
from ser_hf.models.onnx_model import export_onnx
from ser_hf.runs import RUN, RunError, create_run, finish_run, read_predictions, read_run_json, write_run_json
from ser_hf.splits import Fold, SplitError
from train.arguments import parse_arguments
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, read_reference
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.finetune_fold import (
    FOLD,
    Calibration,
    earlier_calibration,
    remove_checkpoints,
    run_fold,
    train_on_validation,
)
from train.finetune_learning import fold_training_arguments, keep_all_states, table_speakers
from train.publish import publish_model
from train.publishing.checks import CheckError
from train.publishing.describe import describe_model

ARGUMENTS = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
# Those that a run keeps when it is taken up again. A base model may lie elsewhere by then.
DECIDING = sorted(
    {
        "protocol",
        *(field.name for kind in (ModelArguments, AugmentationArguments) for field in dataclasses.fields(kind)),
    }
    - {"base_model", "reference_run", "export_onnx"}
    | {name for name in TOLD_IN_CARD if name in FinetuneTrainingArguments.__dataclass_fields__}
)
FROZEN = "frozen"  # in a run folder: what the frozen layers gave
GOES_ON = (
    "What was finished before is kept; once that is mended, the same command with --resume_from_checkpoint true goes on"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 (pushing or writing failed) or 2 (no run is possible)."""
    try:
        arguments = parse_arguments(ARGUMENTS, argv, "python -m train.finetune", __doc__)
        run(*arguments)
    except (UsageError, CorpusError, SplitError, RunError, ModelError, CardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AudioError as error:  # a clip that could be read when the command began
        print(f"error: {error}\n{GOES_ON}", file=sys.stderr)
        return 2
    except (HubError, CheckError) as error:
        print(f"error: {error}\nWhat was trained is kept; python -m train.publish pushes it, too", file=sys.stderr)
        return 1
    except (OSError, SafetensorError) as error:  # a full disk, a folder that may not be written to
        print(f"error: {error}\n{GOES_ON}", file=sys.stderr)
        return 1
    return 0


def run(
    data: DataArguments, model: ModelArguments, augmentation: AugmentationArguments, training: FinetuneTrainingArguments
) -> Path:
    """Train and test each fold of the protocol, then write predictions, metrics and plots into the run folder."""
    model = model.resolved()
    augmentation.augmentation()  # fails now rather than after the clips are read
    if model.frozen_versions and augmentation.copies:
        raise UsageError("--frozen_versions keeps changed versions already: leave --copies out")
    resume = bool(training.resume_from_checkpoint)
    holds_out = data.protocol != "full" and model.hold_out_validation
    if not holds_out and model.calibrate and not model.reference_runs:
        option = "--protocol full" if data.protocol == "full" else "--hold_out_validation false"
        raise UsageError(
            f"{option} leaves nobody to calibrate on: name a run with --reference_run, or --calibrate false"
        )
    if data.protocol == "full":
        for reference in model.reference_runs:
            if read_reference(reference).get("command") == "train.baseline":
                raise UsageError(f"--reference_run {reference} is a run of train.baseline, not of a network")
    training.output_dir = training.output_dir or f"runs/{model.family}-{data.protocol}-seed{training.seed}"
    hub = log_in_to_push(data, model, training) if training.push_to_hub else None
    table = load_clip_table(data)
    folds = make_data_folds(table, data)
    if not model.hold_out_validation:
        folds = [train_on_validation(fold) for fold in folds]
    if model.frozen_versions and augmentation.join_probability:
        check_voices_apart(folds, table)
    calibrations = {}
    if model.reference_runs and not holds_out:
        reference = model.reference_runs[0]
        calibrations = {fold.index: earlier_calibration(reference, data.protocol, fold.index) for fold in folds}
    # Once, so that all folds start from the same commit of it.
    base = pretrained_folder(model.base_model) if model.base_model else None
    folder = Path(training.output_dir)
    here = fold_training_arguments(training, folder, has_validation=holds_out)
    parts = (dataclasses.asdict(data), dataclasses.asdict(model), dataclasses.asdict(augmentation), training.to_dict())
    arguments = {name: value for part in parts for name, value in part.items()}
    # Asking for the device lets the processes that torchrun or accelerate began know of each other.
    is_main = here.device is not None and here.process_index == 0
    refused: list[RunError | CorpusError | None] = [None]
    if is_main:
        try:
            fingerprint = corpus_fingerprint(table)
            create_run(folder, overwrite=training.overwrite_output_dir, resume=resume)
            check_same_clips(folder, fingerprint)
            check_same_recipe(folder, arguments)
            write_run_json(folder, corpus_fingerprint=fingerprint, arguments=arguments)
        except (RunError, CorpusError) as error:
            refused = [error]
    broadcast_object_list(refused)
    if refused[0] is not None:
        raise refused[0]
    clips = load_clips(table)
    from_here = dataclasses.replace(model, base_model=None if base is None else str(base))
    frames, records, states = [], [], None
    for position, fold in enumerate(folds):
        fold_folder = folder / f"fold{fold.index}"
        if not (resume and (fold_folder / FOLD).exists()):
            if model.frozen_versions and states is None:
                with here.main_process_first(desc="what the frozen layers give"):
                    states = keep_all_states(table, clips, folder / FROZEN, from_here, augmentation, training)
            if is_main:
                begun = f"Fold {fold.index} ({position + 1} of {len(folds)})"
                print(f"{begun}: {len(fold.train)} clips to train", flush=True)
            calibration = calibrations.get(fold.index, Calibration())
            run_fold(table, clips, fold, fold_folder, from_here, augmentation, training, calibration, states)
        if not is_main:
            continue
        remove_checkpoints(fold_folder)
        records.append(json.loads((fold_folder / FOLD).read_text(encoding="utf-8")))
        if len(fold.test):
            frames.append(read_predictions(fold_folder))
            accuracy = (frames[-1]["emotion"] == frames[-1]["predicted"]).mean()
            print(f"Fold {fold.index}: accuracy {accuracy:.3f} on {len(fold.test)} clips", flush=True)
    if not is_main:
        return folder
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
    shutil.rmtree(folder / FROZEN, ignore_errors=True)  # gigabytes that nobody asks again
    if frames:
        print(summary(finish_run(folder, frames)))
    measured_by = model.reference_runs if data.protocol == "full" else [folder]
    if len(folds) == 1:  # one model, whole: all speakers' or, measured by this very run, that of one fold
        with replacing_folder(folder / "model") as part:
            shutil.copytree(folder / f"fold{folds[0].index}" / "model", part, dirs_exist_ok=True)
            if model.export_onnx:
                export_onnx(part)
            if measured_by:
                describe_model(part, measured_by, f"ser-{model.family}")
    print(f"Written to {folder}", flush=True)
    if hub is not None:
        api, repo_id = hub
        publish_model(api, folder / "model", repo_id, private=bool(training.hub_private_repo))
    return folder


def log_in_to_push(
    data: DataArguments, model: ModelArguments, training: FinetuneTrainingArguments
) -> tuple[HfApi, str]:
    """The Hub's client and the repository to push to, asked for before the training rather than after it."""
    if data.protocol == "full" and not model.reference_runs:
        raise UsageError(
            "--push_to_hub with --protocol full needs --reference_run: a card without figures helps nobody"
        )
    if data.protocol != "full" and len(data.fold_indices or ()) != 1:
        raise UsageError(
            f"--push_to_hub pushes one model, and --protocol {data.protocol} trains one a fold: take --protocol full "
            "with --reference_run, or a single fold as in --folds 0"
        )
    if training.hub_revision:
        raise UsageError("--hub_revision is not known here: models are pushed to the main branch")
    name = training.hub_model_id or Path(training.output_dir).name
    try:
        api = log_in([name] if "/" in name else [], training.hub_token)
    except HubError as error:
        raise UsageError(f"--push_to_hub: {error}") from error
    return api, name if "/" in name else f"{api.whoami()['name']}/{name}"


def check_same_clips(folder: Path, fingerprint: str) -> None:
    """Refuse to go on with a run on other clips than it began with: what is kept of them goes by their rows.

    Raises:
        RunError: a clip was lost, added or changed.
    """
    if read_run_json(folder).get("corpus_fingerprint", fingerprint) != fingerprint:
        raise RunError(
            f"{folder} was begun on other clips: one was lost, added or changed since, or --data_dir and --corpora are "
            "others. Put them back, or begin anew with --overwrite_output_dir true"
        )


def check_same_recipe(folder: Path, arguments: dict[str, Any]) -> None:
    """Refuse to go on with a run by another recipe than it began with: its folds would be those of two.

    Raises:
        RunError: an argument that decides about the model is another.
    """
    begun_with = read_run_json(folder).get("arguments", {})
    others = [name for name in DECIDING if name in begun_with and begun_with[name] != arguments[name]]
    if others:
        told = ", ".join(f"--{name} {begun_with[name]} and not {arguments[name]}" for name in others)
        raise RunError(
            f"{folder} was begun with {told}. Go on as it was begun (--recipe {folder / RUN} tells how), or begin anew "
            "with --overwrite_output_dir true"
        )


def check_voices_apart(folds: Sequence[Fold], table: Dataset) -> None:
    """Refuse kept versions of joined clips where a speaker is on both sides: they would hold what is tested.

    Raises:
        UsageError: a fold trains on a speaker whom it also tests or validates on.
    """
    speakers = table_speakers(table)
    for fold in folds:
        if set(speakers[fold.train]) & set(speakers[[*fold.test, *fold.validation]]):
            raise UsageError(
                "--frozen_versions keeps versions of all clips, and --join_probability may have joined tested clips to "
                "those to train on, where speakers are in both: leave one of the two out"
            )


def load_clips(table: Dataset) -> list[np.ndarray]:
    """Decode every clip of a table to float32 mono at 16 kHz, in the order of its rows."""
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(load_audio, table["audio"]), total=len(table), desc="Reading clips", unit="clip"))


if __name__ == "__main__":
    sys.exit(main())
