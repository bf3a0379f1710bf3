"""Arguments of `train.finetune`, beside where the data is: the model, the augmentation, the training.

The texts of fields without one are in `ser_hf.hub.card_arguments.ARGUMENTS`, for `--help` and for the card.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields, replace
from math import inf

import numpy as np
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from ser_hf.augment import Augmentation
from ser_hf.labels import LABELS
from ser_hf.models.neural import bfloat16_pays
from ser_hf.models.scratch import ARCHITECTURES
from ser_hf.models.training import compute_metrics
from ser_hf.utils.names import unknown_name
from train.common import UsageError, argument_help, option, require

PRETRAINED = "openai/whisper-base"


@dataclass
class ModelArguments:
    """Which checkpoint is fine-tuned and how much of it, or which architecture is trained from random weights."""

    _argument_group_name = "model: what is fine-tuned, or trained from random weights"

    base_model: str = option(None, f"Folder or Hub id of a pretrained audio checkpoint (default: {PRETRAINED}).")
    base_model_id: str | None = option(None, "Hub id that the card names where --base_model is a copy in a folder.")
    architecture: str | None = option(
        None,
        "Train from random weights instead: lstm (on MFCC), cnn, cnn-lstm or vit (on log-mel spectrograms). Start from "
        "train/recipes/NAME.yaml: learning rates for fine-tuning are far too low for it.",
        choices=ARCHITECTURES,
    )
    hidden_size: int | None = option(None, "With --architecture: width of a layer (default: the architecture's).")
    dropout: float | None = option(None, "With --architecture: dropout (default: the architecture's).")
    family: str = option(
        None, "Name of the model family in run.json and reports (default: the architecture, or whisper)."
    )
    num_layers: int | None = option(None, argument_help("num_layers", "default: all"))
    window_seconds: float | None = option(
        None, argument_help("window_seconds", "default: the checkpoint's own; else 5")
    )
    frozen_layers: int = 0
    layer_decay: float = option(None, argument_help("layer_decay", "default: 0.85; from scratch 1"))
    head_factor: float = option(None, argument_help("head_factor", "default: 10; from scratch 1"))
    ema_decay: float = option(0.0, argument_help("ema_decay", "default: 0, no average"))
    fit_head_first: bool = option(True, argument_help("fit_head_first", "default: true; from scratch false"))
    calibrate: bool = option(True, "Scale the output weights by a temperature fitted on held-out clips.")
    export_onnx: bool = option(False, "Also write the finished model as ONNX (requirements-onnx.txt).")
    reference_run: str | None = option(
        None,
        "Runs of the same recipe on held-out speakers or corpora, separated by commas: the model gets the mean "
        "temperature and threshold of the first, its card the figures of all.",
    )
    hold_out_validation: bool = option(
        True,
        "Hold each fold's validation clips out of training, and fit its temperature on them. If false they train too, "
        "and a fold's temperature is fitted on the predictions of the other folds.",
    )

    def __post_init__(self) -> None:
        if self.architecture is None:
            defaults = {"base_model": PRETRAINED, "family": "whisper", "layer_decay": 0.85, "head_factor": 10.0}
            of_other_kind, goes = ["hidden_size", "dropout"], "with"
        else:
            defaults = {"family": self.architecture, "layer_decay": 1.0, "head_factor": 1.0}
            of_other_kind, goes = ["base_model", "base_model_id", "frozen_layers"], "without"
            self.fit_head_first = False
        for name in of_other_kind:
            require(not getattr(self, name), f"--{name} goes {goes} --architecture: leave one out")
        for name, value in defaults.items():
            if getattr(self, name) is None:
                setattr(self, name, value)


@dataclass
class AugmentationArguments:
    """How training clips are augmented."""

    _argument_group_name = "augmentation: how training clips are changed (0 leaves a kind out)"

    speed: float = 0.1
    gain_db: float = 6.0
    level_range_db: float = 0.0
    noise_probability: float = 0.3
    silence_probability: float = 0.5
    pitch_semitones: float = 0.0
    room_probability: float = 0.0
    tilt_db: float = 0.0
    band_probability: float = 0.0
    codec_probability: float = 0.0
    crop_probability: float = 0.0
    join_probability: float = 0.0
    copies: int = option(
        0, argument_help("copies", "with --frozen_layers, for Whisper; cached for all runs of these settings")
    )
    keep_positions: float = 1.0
    corpus_shift: bool = False
    spec_augment: float = 0.05
    mixup_alpha: float = 0.4

    def augmentation(self) -> Augmentation:
        """The augmentation of a waveform that these arguments describe."""
        try:
            return Augmentation(**{one.name: getattr(self, one.name) for one in fields(Augmentation)})
        except ValueError as error:
            raise UsageError(f"augmentation: {error}") from None


@dataclass
class FinetuneTrainingArguments(TrainingArguments):
    """TrainingArguments with this project's defaults."""

    _argument_group_name = "training: the schedule, and what is written"

    # Empty rather than None, for which TrainingArguments has a default of its own.
    output_dir: str = option("", "Run folder that is written (default: runs/FAMILY-PROTOCOL-seedN).")
    overwrite_output_dir: bool = option(False, "Replace a run folder that exists.")
    resume_from_checkpoint: str | None = option(None, "true: resume the run in --output_dir.")
    seed: int = 42
    corpus_weights: str | None = option(
        None, argument_help("corpus_weights", "as in ravdess=0.35; labels of a corpus equally often")
    )
    push_to_hub: bool = option(False, "Publish the finished model on the Hub.")
    hub_model_id: str | None = option(None, "Its repository, as USER/NAME (default: the run folder's name, yours).")
    hub_private_repo: bool | None = option(None, "Make a new repository private.")
    precision: str = option("auto", argument_help("precision"), choices=["auto", "bfloat16", "float32"])
    learning_rate: float = 6e-5
    num_train_epochs: float = 12
    per_device_train_batch_size: int = 16
    per_device_eval_batch_size: int = option(32, "Clips in an evaluation batch.")
    weight_decay: float = 0.01
    warmup_steps: float = 0.1
    lr_scheduler_type: str = "cosine"
    label_smoothing_factor: float = 0.1
    eval_strategy: str = option("epoch", "When the validation clips are evaluated.")
    save_strategy: str = option("epoch", "When a checkpoint is written.")
    save_total_limit: int | None = option(1, "Checkpoints that are kept.")
    logging_steps: float = option(20, "Steps between two lines of the log.")
    metric_for_best_model: str | None = option("balanced_accuracy", "Metric that picks the best epoch on validation.")
    greater_is_better: bool | None = option(True, "Whether a larger value of it is better.")
    remove_unused_columns: bool = option(False, "Kept false: clips are not table columns.")
    report_to: str = option("none", "Experiment trackers, such as tensorboard or trackio.")

    def __post_init__(self) -> None:
        pays = self.precision == "auto" and not self.fp16 and bfloat16_pays()
        self.bf16 = pays or self.precision == "bfloat16"
        self.use_cpu = not torch.cuda.is_available()  # on others, figures were never checked
        try:
            super().__post_init__()
        except Exception as error:  # what options can make transformers raise has no common root
            raise _refused(error) from error


def _refused(error: Exception) -> UsageError:
    return UsageError(f"the training options cannot be used: {' '.join(str(error).split()) or type(error).__name__}")


def check_trainer(training: FinetuneTrainingArguments) -> None:
    """Set a Trainer up for a single weight, and refuse the options that transformers refuses."""
    with tempfile.TemporaryDirectory() as folder:
        args = replace(training, output_dir=folder, push_to_hub=False, label_smoothing_factor=0.0)
        model, data = torch.nn.Linear(1, 1), [{"x": 0.0}]
        try:
            optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(args)
            optimizer = optimizer_class(model.parameters(), **options | {"weight_decay": args.weight_decay})
            trainer = Trainer(model, args, train_dataset=data, eval_dataset=data, optimizers=(optimizer, None))
            trainer.create_scheduler(num_training_steps=1)
            trainer.get_train_dataloader()
            trainer.get_eval_dataloader()
        except Exception as error:  # of transformers, accelerate, torch or a package for --report_to or --optim
            raise _refused(error) from error


def check_arguments(
    model: ModelArguments, augmentation: AugmentationArguments, training: FinetuneTrainingArguments
) -> None:
    """Refuse arguments that are out of range or do not go together."""
    augmentation.augmentation()
    keep, join = augmentation.keep_positions, augmentation.join_probability
    for options, name, largest in (
        (model, "layer_decay", inf),
        (model, "head_factor", inf),
        (model, "frozen_layers", inf),
        (augmentation, "spec_augment", 1),
        (augmentation, "mixup_alpha", inf),
        (training, "label_smoothing_factor", 1),
        (training, "num_train_epochs", inf),
    ):
        value = getattr(options, name)
        require(0 <= value <= largest, f"--{name} must be 0 or more{', and 1 at most' * (largest == 1)}, not {value:g}")
    steps = training.gradient_accumulation_steps
    require(steps >= 1, f"--gradient_accumulation_steps must be 1 or more, not {steps}")
    require(0 <= model.ema_decay < 1, f"--ema_decay must be at least 0 and below 1, not {model.ema_decay:g}")
    require(augmentation.copies >= 0, f"--copies must be 0 or more, not {augmentation.copies}")
    require(0 < keep <= 1, f"--keep_positions must be above 0 and at most 1, not {keep:g}")
    require(0 <= join <= 1, f"--join_probability must be between 0 and 1, not {join:g}")
    require(not training.hub_revision, "--hub_revision is not supported: models are pushed to the main branch")
    if model.ema_decay:
        require(not training.load_best_model_at_end, "--load_best_model_at_end does not go with --ema_decay")
    if augmentation.copies:
        require(model.frozen_layers, "--copies caches what frozen layers output: it needs --frozen_layers")
    else:
        require(keep == 1, "--keep_positions changes cached copies: it needs --copies")
        require(not augmentation.corpus_shift, "--corpus_shift changes cached copies: it needs --copies")
    best, perfect = (training.metric_for_best_model or "loss").removeprefix("eval_"), np.eye(len(LABELS))
    known = ["loss", *compute_metrics(EvalPrediction(perfect, perfect))]
    require(best in known, f"--metric_for_best_model: {unknown_name('metric', best, known)}")
    check_trainer(training)
