"""What `train.finetune` can be told, beside where the data is: the model, the augmentation, the training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from ser_hf.augment import Augmentation
from ser_hf.models.scratch import ARCHITECTURES
from train.common import UsageError

PRETRAINED = "openai/whisper-base"


@dataclass
class ModelArguments:
    """Which checkpoint is fine-tuned and how much of it, or which architecture is trained from random weights."""

    _argument_group_name = "model: what is fine-tuned, or trained from random weights"

    base_model: str | None = field(
        default=None,
        metadata={"help": f"Folder or Hub id of a pretrained audio checkpoint (default: {PRETRAINED})."},
    )
    base_model_id: str | None = field(
        default=None, metadata={"help": "Hub id that the card names where --base_model is a copy in a folder."}
    )
    architecture: str | None = field(
        default=None,
        metadata={
            "help": "Train from random weights instead: lstm (on MFCC), cnn, cnn-lstm or vit (on log-mel "
            "spectrograms). Begin with train/recipes/NAME.yaml: the rates of fine-tuning are far too low for it.",
            "choices": ARCHITECTURES,
        },
    )
    hidden_size: int | None = field(
        default=None,
        metadata={"help": "With --architecture: width of a layer, or of the top one (default: the architecture's)."},
    )
    dropout: float | None = field(
        default=None,
        metadata={"help": "With --architecture: share of values dropped in training (default: the architecture's)."},
    )
    family: str | None = field(
        default=None,
        metadata={"help": "Name of the model family in run.json and reports (default: the architecture, or whisper)."},
    )
    num_layers: int | None = field(
        default=None,
        metadata={"help": "Layers from the bottom that are kept, or with --architecture made (default: all)."},
    )
    window_seconds: float | None = field(
        default=None, metadata={"help": "Seconds that the model sees at once (default: the checkpoint's own; else 5)."}
    )
    weighted_layer_sum: bool = field(
        default=False,
        metadata={"help": "Classify a learned mean of all layers; of those --frozen_layers, the highest alone."},
    )
    frozen_layers: int = field(
        default=0, metadata={"help": "Lowest layers that stay as pretrained, with the front end (default: none)."}
    )
    frozen_versions: int = field(
        default=0,
        metadata={
            "help": "Changed versions of each clip that go through the --frozen_layers once for all folds, heard "
            "by epochs in turns; 0: each epoch makes new ones, which takes longer. For Whisper."
        },
    )
    deviations_above: str | None = field(
        default=None,
        metadata={
            "help": "Layers, as in 2,3, that get a layer above them by which the head hears their "
            "mean and how much they vary over a clip. It is fitted with the head and then frozen. For Whisper."
        },
    )
    layer_decay: float | None = field(
        default=None, metadata={"help": "Factor of the rate per layer downward (default: 0.85; from scratch 1)."}
    )
    head_factor: float | None = field(
        default=None,
        metadata={
            "help": "Factor of the rate for the head (default: 10; from scratch 1); 0 leaves it as fitted first."
        },
    )
    balance_labels: bool = field(
        default=False, metadata={"help": "Give each label the same weight in training, however many clips it has."}
    )
    fit_head_first: bool = field(
        default=True,
        metadata={"help": "Start from a linear classifier of the frozen encoder's output; never from scratch."},
    )
    head_shrinkage: float | None = field(
        default=None,
        metadata={
            "help": "Fit it by linear discriminant analysis with this share of shrinkage, 0 to 1 (default: by logistic "
            "regression)."
        },
    )
    calibrate: bool = field(
        default=True, metadata={"help": "Fold a temperature fitted on the validation speakers into the weights."}
    )
    familiarity: bool = field(
        default=True,
        metadata={"help": "Keep what the training clips are like, to warn of voices unlike them; never from scratch."},
    )
    export_onnx: bool = field(
        default=False, metadata={"help": "Write the finished model as ONNX besides (requirements-onnx.txt)."}
    )
    reference_run: str | None = field(
        default=None,
        metadata={
            "help": "With --protocol full: runs of the same recipe on held-out speakers, separated by commas; the card "
            "has the figures of all, the model the temperature of the first. With --hold_out_validation false: run "
            "whose temperatures the folds get, each that of the same fold."
        },
    )
    hold_out_validation: bool = field(
        default=True,
        metadata={
            "help": "Keep each fold's validation clips out of training. Without, they train too, as those of "
            "train.baseline do; nothing is then chosen, and the temperature is that of --reference_run."
        },
    )

    refit: bool = field(
        default=False,
        metadata={
            "help": "Once the validation clips of a fold have told the temperature, train anew on them, too, as "
            "train.baseline does."
        },
    )

    @property
    def reference_runs(self) -> list[str]:
        """The runs that ``reference_run`` names."""
        return [name.strip() for name in (self.reference_run or "").split(",") if name.strip()]

    @property
    def heard_layers(self) -> list[int]:
        """The layers that ``deviations_above`` names."""
        try:
            return [int(part) for part in (self.deviations_above or "").split(",") if part.strip()]
        except ValueError:
            raise UsageError(f"--deviations_above takes layers as in 2,3, not {self.deviations_above!r}") from None

    @property
    def kept_layers(self) -> int:
        """Layers behind which ``frozen_versions`` keeps states: all that are frozen, but none above a fitted one."""
        return min([*self.heard_layers, self.frozen_layers])

    def resolved(self) -> ModelArguments:
        """These arguments with every default that depends on another one filled in.

        Raises:
            UsageError: arguments do not go together.
        """
        if self.frozen_versions < 0 or (self.frozen_versions and not self.frozen_layers):
            raise UsageError("--frozen_versions is 0 or more, and needs --frozen_layers")
        if self.heard_layers and not (self.frozen_layers == self.num_layers and self.fit_head_first):
            raise UsageError(
                "--deviations_above needs --fit_head_first and all layers frozen: --frozen_layers as --num_layers"
            )
        if self.head_shrinkage is not None and not (0 <= self.head_shrinkage <= 1 and self.fit_head_first):
            raise UsageError(f"--head_shrinkage {self.head_shrinkage:g}: it is between 0 and 1, with --fit_head_first")
        defaults: dict[str, Any]
        if self.architecture is None:
            for name in ("hidden_size", "dropout"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name} goes with --architecture: that of a pretrained model is what it is")
            defaults = {"base_model": PRETRAINED, "family": "whisper", "layer_decay": 0.85, "head_factor": 10.0}
        else:
            pretrained_alone = ("base_model", "base_model_id", "weighted_layer_sum", "deviations_above")
            for name in (*pretrained_alone, "frozen_layers", "frozen_versions", "head_shrinkage"):
                if getattr(self, name):
                    raise UsageError(
                        f"--{name} goes with a pretrained model, and --architecture starts from random weights: "
                        "leave one of the two out"
                    )
            defaults = {"family": self.architecture, "layer_decay": 1.0, "head_factor": 1.0}
        changes: dict[str, Any] = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        if self.architecture is not None:
            changes |= {"fit_head_first": False, "familiarity": False}
        return dataclasses.replace(self, **changes)


@dataclass
class AugmentationArguments:
    """How training clips are varied."""

    _argument_group_name = "augmentation: how training clips are varied (0 leaves a kind out)"

    speed: float = field(default=0.1, metadata={"help": "Largest change of speed, as a share of 1."})
    gain_db: float = field(default=6.0, metadata={"help": "Largest change of level, in dB."})
    level_range_db: float = field(
        default=0.0,
        metadata={"help": "Width in dB of the range that the voice's level is drawn from, whatever it was."},
    )
    noise_probability: float = field(default=0.3, metadata={"help": "Share of clips with noise of 10 to 40 dB SNR."})
    silence_probability: float = field(default=0.5, metadata={"help": "Share of clips that lose outer silence."})
    pitch_semitones: float = field(default=0.0, metadata={"help": "Largest change of pitch, in semitones."})
    stretch: float = field(default=0.0, metadata={"help": "Largest change of length at the same pitch, share of 1."})
    shift: float = field(default=0.0, metadata={"help": "Largest shift in time, in seconds."})
    room_probability: float = field(default=0.0, metadata={"help": "Share of clips that are put into a made-up room."})
    tilt_db: float = field(default=0.0, metadata={"help": "Largest tilt of the spectrum, in dB an octave."})
    band_probability: float = field(default=0.0, metadata={"help": "Share of clips that lose low and high sounds."})
    codec_probability: float = field(default=0.0, metadata={"help": "Share of clips that are coded and decoded."})
    join_probability: float = field(
        default=0.0, metadata={"help": "Share of clips joined with another of the same speaker and emotion."}
    )
    no_speech: float = field(
        default=0.0,
        metadata={"help": "Share of made-up sounds without speech, to be answered alike for all labels; 0 to 0.5."},
    )
    copies: int = field(
        default=0,
        metadata={
            "help": "Changed copies of each clip, made once and trained on beside it, as the field does; "
            "0 changes each clip anew in every epoch instead."
        },
    )
    spec_augment: float = field(default=0.05, metadata={"help": "Share of frames and of bins that SpecAugment masks."})
    mixup_alpha: float = field(default=0.4, metadata={"help": "Shape of mixup's Beta distribution; 0 turns it off."})
    mixup_probability: float = field(default=0.5, metadata={"help": "Share of batches that are mixed."})

    def augmentation(self) -> Augmentation:
        """The change of a waveform that these arguments describe.

        Raises:
            UsageError: one of them is out of range.
        """
        if self.copies < 0:
            raise UsageError(f"--copies must be 0 or more, not {self.copies}")
        if not 0 <= self.join_probability <= 1:
            raise UsageError(f"--join_probability must be between 0 and 1, not {self.join_probability:g}")
        if self.join_probability and self.copies:
            raise UsageError("--join_probability goes with versions made anew, not with --copies")
        if not 0 <= self.no_speech <= 0.5:
            raise UsageError(f"--no_speech must be between 0 and 0.5, not {self.no_speech:g}")
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
    output_dir: str = field(
        default="", metadata={"help": "Run folder that is written (default: runs/FAMILY-PROTOCOL-seedN)."}
    )
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Replace a run folder that exists."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "true: go on with the run in --output_dir where it broke off."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of all that is random."})
    push_to_hub: bool = field(default=False, metadata={"help": "Publish the finished model on the Hub."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "Its repository, as USER/NAME (default: the run folder's name, yours)."}
    )
    hub_private_repo: bool | None = field(default=None, metadata={"help": "Hide a repository that is created."})
    precision: str = field(
        default="auto",
        metadata={"help": "Arithmetic: bfloat16 where it pays, or fixed.", "choices": ["auto", "bfloat16", "float32"]},
    )
    learning_rate: float = field(default=6e-5, metadata={"help": "Rate of the top layer."})
    num_train_epochs: float = field(default=12, metadata={"help": "Passes over the training clips."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Clips a step."})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Clips a step in evaluation."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps, or share of all steps, of rising rate."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "How the rate falls."})
    label_smoothing_factor: float = field(default=0.1, metadata={"help": "Share of a label spread over all."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When the validation speakers are asked."})
    save_strategy: str = field(default="epoch", metadata={"help": "When a checkpoint is written."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints that are kept."})
    logging_steps: float = field(default=20, metadata={"help": "Steps between two lines of the log."})
    metric_for_best_model: str | None = field(
        default="balanced_accuracy", metadata={"help": "What picks the best epoch, on validation speakers."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of it is better."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many epochs without a better one (default: never)."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Kept false: clips are no table columns."})
    report_to: str = field(default="none", metadata={"help": "Experiment trackers."})
