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
from ser_hf.card_arguments import ARGUMENTS as IN_CARD
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
from train.calibration import FOLD, Calibration, calibrated, cross_fit, earlier_calibration
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, read_reference
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.finetune_data import Experiment, corpus_shares
from train.finetune_fold import remove_checkpoints, run_fold
from train.publish import publish_model
from train.publishing.checks import CheckError
from train.publishing.describe import describe_model

ARGUMENTS = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
# Those that a run keeps when it is resumed. A base model may lie elsewhere by then.
DECIDING = sorted(
    {
        "protocol",
        *(field.name for kind in (ModelArguments, AugmentationArguments) for field in dataclasses.fields(kind)),
    }
    - {"base_model", "reference_run", "export_onnx"}
    | {name for name in IN_CARD if name in FinetuneTrainingArguments.__dataclass_fields__}
)
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
    model = model.resolved()
    augmentation.augmentation()  # fails now rather than after the clips are read
    for reference in model.reference_runs if data.protocol == "full" else []:
        if read_reference(reference).get("command") == "train.baseline":
            raise UsageError(f"--reference_run {reference} is a run of train.baseline, not of a network")
    resume = bool(training.resume_from_checkpoint)
    training.output_dir = training.output_dir or f"runs/{model.family}-{data.protocol}-seed{training.seed}"
    hub = log_in_to_push(data, model, training) if training.push_to_hub else None
    table = load_clip_table(data)
    folds = make_data_folds(table, data)
    alone = len(folds) == 1 and model.calibrate and not model.reference_runs  # with no other fold to be calibrated on
    if not model.hold_out_validation and not alone:
        folds = [train_on_validation(fold) for fold in folds]
    held_out = any(len(fold.validation) for fold in folds)
    if alone and not held_out:
        raise UsageError(
            "a single fold without validation clips has nothing to be calibrated on: name a run with "
            "--reference_run, or --calibrate false"
        )
    check_arguments(data, model, augmentation, training, folds, table)
    calibrations = {}
    if model.reference_runs and not held_out:
        reference = model.reference_runs[0]
        calibrations = {fold.index: earlier_calibration(reference, data.protocol, fold.index) for fold in folds}
    # Once, so that all folds start from the same commit of it.
    base = pretrained_folder(model.base_model) if model.base_model else None
    folder = Path(training.output_dir)
    parts = (dataclasses.asdict(data), dataclasses.asdict(model), dataclasses.asdict(augmentation), training.to_dict())
    arguments = {name: value for part in parts for name, value in part.items()}
    from_here = dataclasses.replace(model, base_model=None if base is None else str(base))
    experiment = Experiment(table, (), from_here, augmentation, training)
    here = experiment.fold_arguments(folder, has_validation=held_out)
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
    experiment.clips = load_clips(table)
    for position, fold in enumerate(folds):
        fold_folder = folder / f"fold{fold.index}"
        if not (resume and (fold_folder / FOLD).exists()):
            if is_main:
                print(f"{fold} ({position + 1} of {len(folds)}): {len(fold.train)} clips to train on", flush=True)
            run_fold(experiment, fold, fold_folder, calibrations.get(fold.index, Calibration()))
        if is_main:
            remove_checkpoints(fold_folder)
    if not is_main:
        return folder
    folders = [folder / f"fold{fold.index}" for fold in folds]
    if model.calibrate and not held_out and not calibrations:
        cross_fit(folders, [fold.name not in data.test_corpora for fold in folds])
    records = [json.loads((one / FOLD).read_text(encoding="utf-8")) for one in folders]
    frames = []
    for fold, record, one in zip(folds, records, folders, strict=True):
        if len(fold.test):
            frames.append(
                calibrated(read_predictions(one), Calibration(record["temperature"], record["answer_threshold"]))
            )
            accuracy = (frames[-1]["emotion"] == frames[-1]["predicted"]).mean()
            print(f"{fold}: accuracy {accuracy:.3f} on {len(fold.test)} clips", flush=True)
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
    if frames:
        print(summary(finish_run(folder, frames)))
    measured_by = model.reference_runs if data.protocol == "full" else [folder]
    if len(folds) == 1:  # one model, whole: of all speakers, or that of one fold, measured by this very run
        with replacing_folder(folder / "model") as part:
            shutil.copytree(folders[0] / "model", part, dirs_exist_ok=True)
            if model.export_onnx:
                export_onnx(part)
            if measured_by:
                describe_model(part, measured_by, f"ser-{model.family}")
    print(f"Written to {folder}", flush=True)
    if hub is not None:
        api, repo_id = hub
        publish_model(api, folder / "model", repo_id, private=bool(training.hub_private_repo))
    return folder


def train_on_validation(fold: Fold) -> Fold:
    """The fold with its validation clips among those to train on."""
    train = np.sort(np.concatenate([fold.train, fold.validation]))
    return dataclasses.replace(fold, train=train, validation=fold.validation[:0])


def check_arguments(
    data: DataArguments,
    model: ModelArguments,
    augmentation: AugmentationArguments,
    training: FinetuneTrainingArguments,
    folds: Sequence[Fold],
    table: Dataset,
) -> None:
    """Refuse, before anything is computed, arguments that do not go together.

    Raises:
        UsageError: which, and what to do.
    """
    if model.ema_decay and training.load_best_model_at_end:
        raise UsageError(
            "--ema_decay keeps the average of the weights, and --load_best_model_at_end one epoch's: leave one out"
        )
    if augmentation.copies and not model.frozen_layers:
        raise UsageError("--copies caches what frozen layers output: it needs --frozen_layers")
    for name, default in (("keep_positions", 1.0), ("corpus_shift", False)):
        if getattr(augmentation, name) != default and not augmentation.copies:
            raise UsageError(f"--{name} changes cached copies: it needs --copies")
    if training.corpus_weights is not None:
        corpora = np.array(table["corpus"])
        for fold in folds:
            corpus_shares(training.corpus_weights, corpora[fold.train])
    if augmentation.copies and augmentation.join_probability:
        people = np.array([f"{c}/{s}" for c, s in zip(table["corpus"], table["speaker"], strict=True)])
        for fold in folds:
            if set(people[fold.train]) & set(people[[*fold.test, *fold.validation]]):
                raise UsageError(
                    f"cached copies with --join_probability may hold tested clips where a speaker is in training and "
                    f"test, as in --protocol {data.protocol}: take --join_probability 0"
                )


def log_in_to_push(
    data: DataArguments, model: ModelArguments, training: FinetuneTrainingArguments
) -> tuple[HfApi, str]:
    """The Hub's client and the repository to push to, checked before the training rather than after it."""
    if data.protocol == "full" and not model.reference_runs:
        raise UsageError("--push_to_hub with --protocol full needs --reference_run, whose figures the card reports")
    if data.protocol != "full" and len(data.fold_indices or ()) != 1:
        raise UsageError(
            f"--push_to_hub pushes one model, and --protocol {data.protocol} trains one per fold: take --protocol full "
            "with --reference_run, or a single fold as in --folds 0"
        )
    if training.hub_revision:
        raise UsageError("--hub_revision is not supported: models are pushed to the main branch")
    name = training.hub_model_id or Path(training.output_dir).name
    try:
        api = log_in([name] if "/" in name else [], training.hub_token)
    except HubError as error:
        raise UsageError(f"--push_to_hub: {error}") from error
    return api, name if "/" in name else f"{api.whoami()['name']}/{name}"


def check_same_clips(folder: Path, fingerprint: str) -> None:
    """Refuse to resume a run on other clips than it started with: its predictions go by their rows.

    Raises:
        RunError: a clip was lost, added or changed.
    """
    if read_run_json(folder).get("corpus_fingerprint", fingerprint) != fingerprint:
        raise RunError(
            f"{folder} was started on other clips: one was lost, added or changed since, or --data_dir or --corpora "
            "differ. Restore them, or start from scratch with --overwrite_output_dir true"
        )


def check_same_recipe(folder: Path, arguments: dict[str, Any]) -> None:
    """Refuse to resume a run by another recipe than it started with: its folds would be those of two.

    Raises:
        RunError: an argument that affects the model differs.
    """
    begun_with = read_run_json(folder).get("arguments", {})
    others = [name for name in DECIDING if name in begun_with and begun_with[name] != arguments[name]]
    if others:
        listed = ", ".join(f"--{name} {begun_with[name]} and not {arguments[name]}" for name in others)
        raise RunError(
            f"{folder} was started with {listed}. Resume with the same arguments (--recipe {folder / RUN}), or "
            "start from scratch with --overwrite_output_dir true"
        )


def load_clips(table: Dataset) -> list[np.ndarray]:
    """Decode every clip of a table to float32 mono at 16 kHz, in the order of its rows."""
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(load_audio, table["audio"]), total=len(table), desc="Reading clips", unit="clip"))


if __name__ == "__main__":
    sys.exit(main())
