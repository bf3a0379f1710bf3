"""Arguments of `train.finetune`, beside where the data is: the model, the augmentation, the training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from ser_hf.augment import Augmentation
from ser_hf.card_arguments import ARGUMENTS
from ser_hf.models.scratch import ARCHITECTURES
from train.common import UsageError

PRETRAINED = "openai/whisper-base"


def option(default: Any, text: str | None = None, name: str | None = None, **metadata: Any) -> Any:
    """A dataclass field with its help text: ``text``, or the card's text of the argument ``name``."""
    return field(default=default, metadata={"help": text or ARGUMENTS[name or ""].capitalize() + ".", **metadata})


@dataclass
class ModelArguments:
    """Which checkpoint is fine-tuned and how much of it, or which architecture is trained from random weights."""

    _argument_group_name = "model: what is fine-tuned, or trained from random weights"

    base_model: str | None = option(None, f"Folder or Hub id of a pretrained audio checkpoint (default: {PRETRAINED}).")
    base_model_id: str | None = option(None, "Hub id that the card names where --base_model is a copy in a folder.")
    architecture: str | None = option(
        None,
        "Train from random weights instead: lstm (on MFCC), cnn, cnn-lstm or vit (on log-mel spectrograms). Start from "
        "train/recipes/NAME.yaml: learning rates for fine-tuning are far too low for it.",
        choices=ARCHITECTURES,
    )
    hidden_size: int | None = option(None, "With --architecture: width of a layer (default: the architecture's).")
    dropout: float | None = option(None, "With --architecture: dropout (default: the architecture's).")
    family: str | None = option(
        None, "Name of the model family in run.json and reports (default: the architecture, or whisper)."
    )
    num_layers: int | None = option(None, "Encoder layers that are kept, from the bottom (default: all).")
    window_seconds: float | None = option(
        None, "Window of the model in seconds (default: the checkpoint's own; else 5)."
    )
    frozen_layers: int = option(0, "Lowest layers that stay as pretrained, with the front end (default: none).")
    layer_decay: float | None = option(
        None, "Factor of the learning rate per layer downward (default: 0.85; from scratch 1)."
    )
    head_factor: float | None = option(None, "Factor of the learning rate for the head (default: 10; from scratch 1).")
    ema_decay: float = option(0.0, "Decay of the moving average of the weights that is kept at the end; 0: none.")
    fit_head_first: bool = option(
        True, "Start from a logistic regression on the frozen encoder's output; never from scratch."
    )
    calibrate: bool = option(True, "Scale the output weights by a temperature fitted on held-out clips.")
    familiarity: bool = option(True, "Store an out-of-domain score of the training clips; never from scratch.")
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

    @property
    def reference_runs(self) -> list[str]:
        """The runs that ``reference_run`` names."""
        return [name.strip() for name in (self.reference_run or "").split(",") if name.strip()]

    def resolved(self) -> ModelArguments:
        """These arguments with every default that depends on another one filled in.

        Raises:
            UsageError: arguments do not go together.
        """
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"--ema_decay must be at least 0 and below 1, not {self.ema_decay:g}")
        defaults: dict[str, Any]
        if self.architecture is None:
            for name in ("hidden_size", "dropout"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name} goes with --architecture: a pretrained model has its own")
            defaults = {"base_model": PRETRAINED, "family": "whisper", "layer_decay": 0.85, "head_factor": 10.0}
        else:
            for name in ("base_model", "base_model_id", "frozen_layers"):
                if getattr(self, name):
                    raise UsageError(f"--{name} goes with a pretrained model, not with --architecture: leave one out")
            defaults = {"family": self.architecture, "layer_decay": 1.0, "head_factor": 1.0}
        changes: dict[str, Any] = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        if self.architecture is not None:
            changes |= {"fit_head_first": False, "familiarity": False}
        return dataclasses.replace(self, **changes)


@dataclass
class AugmentationArguments:
    """How training clips are augmented."""

    _argument_group_name = "augmentation: how training clips are changed (0 leaves a kind out)"

    speed: float = option(0.1, name="speed")
    gain_db: float = option(6.0, name="gain_db")
    level_range_db: float = option(0.0, name="level_range_db")
    noise_probability: float = option(0.3, name="noise_probability")
    silence_probability: float = option(0.5, name="silence_probability")
    pitch_semitones: float = option(0.0, name="pitch_semitones")
    room_probability: float = option(0.0, name="room_probability")
    tilt_db: float = option(0.0, name="tilt_db")
    band_probability: float = option(0.0, name="band_probability")
    codec_probability: float = option(0.0, name="codec_probability")
    crop_probability: float = option(0.0, name="crop_probability")
    join_probability: float = option(0.0, name="join_probability")
    copies: int = option(
        0,
        "With --frozen_layers: augmented copies of each clip, whose frozen states are cached for all runs of these "
        "settings, with those of the clip itself; 0 augments in every epoch instead, which takes longer. For Whisper.",
    )
    keep_positions: float = option(1.0, name="keep_positions")
    corpus_shift: bool = option(False, name="corpus_shift")
    spec_augment: float = option(0.05, name="spec_augment")
    mixup_alpha: float = option(0.4, name="mixup_alpha")
    mixup_probability: float = option(0.5, name="mixup_probability")

    def augmentation(self) -> Augmentation:
        """The augmentation of a waveform that these arguments describe.

        Raises:
            UsageError: one of them is out of range.
        """
        if self.copies < 0:
            raise UsageError(f"--copies must be 0 or more, not {self.copies}")
        if not 0 < self.keep_positions <= 1:
            raise UsageError(f"--keep_positions must be above 0 and at most 1, not {self.keep_positions:g}")
        if not 0 <= self.join_probability <= 1:
            raise UsageError(f"--join_probability must be between 0 and 1, not {self.join_probability:g}")
        names = {one.name for one in dataclasses.fields(Augmentation)} & {one.name for one in dataclasses.fields(self)}
        try:
            return Augmentation(**{name: getattr(self, name) for name in names})
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
    seed: int = option(42, "Random seed.")
    corpus_weights: str | None = option(
        None,
        "Share of the training examples that are drawn from a corpus, as in ravdess=0.35; corpora that are not named "
        "share the rest by the square root of their clips, and the labels of a corpus are drawn equally often.",
    )
    push_to_hub: bool = option(False, "Publish the finished model on the Hub.")
    hub_model_id: str | None = option(None, "Its repository, as USER/NAME (default: the run folder's name, yours).")
    hub_private_repo: bool | None = option(None, "Make a new repository private.")
    precision: str = option(
        "auto", "Arithmetic: bfloat16 where the processor has it, or fixed.", choices=["auto", "bfloat16", "float32"]
    )
    learning_rate: float = option(6e-5, "Learning rate of the top layer.")
    num_train_epochs: float = option(12, "Epochs.")
    per_device_train_batch_size: int = option(16, "Clips in a training batch.")
    per_device_eval_batch_size: int = option(32, "Clips in an evaluation batch.")
    weight_decay: float = option(0.01, "Weight decay of AdamW.")
    warmup_steps: float = option(0.1, "Warm-up steps; below 1, their share of all steps.")
    lr_scheduler_type: str = option("cosine", "Learning rate schedule.")
    label_smoothing_factor: float = option(0.1, "Label smoothing.")
    eval_strategy: str = option("epoch", "When the validation clips are evaluated.")
    save_strategy: str = option("epoch", "When a checkpoint is written.")
    save_total_limit: int | None = option(1, "Checkpoints that are kept.")
    logging_steps: float = option(20, "Steps between two lines of the log.")
    metric_for_best_model: str | None = option("balanced_accuracy", "Metric that picks the best epoch on validation.")
    greater_is_better: bool | None = option(True, "Whether a larger value of it is better.")
    remove_unused_columns: bool = option(False, "Kept false: clips are not table columns.")
    report_to: str = option("none", "Experiment trackers, such as tensorboard or trackio.")
