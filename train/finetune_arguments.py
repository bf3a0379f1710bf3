"""What `train.finetune` can be told, beside where the data is: the checkpoint, the augmentation, the training."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class ModelArguments:
    """Which checkpoint is fine-tuned, and how much of it."""

    base_model: str = field(
        default="openai/whisper-base", metadata={"help": "Folder or Hub id of a pretrained audio checkpoint."}
    )
    base_model_id: str | None = field(
        default=None, metadata={"help": "Hub id that the card names where --base_model is a copy in a folder."}
    )
    family: str = field(default="whisper", metadata={"help": "Name of the model family in run.json and reports."})
    num_layers: int | None = field(default=None, metadata={"help": "Encoder layers that are kept (default: all)."})
    window_seconds: float | None = field(
        default=None, metadata={"help": "Seconds that the model sees at once (default: the checkpoint's own)."}
    )
    weighted_layer_sum: bool = field(default=False, metadata={"help": "Classify a learned mean of all layers."})
    frozen_layers: int = field(
        default=0, metadata={"help": "Lowest layers that stay as pretrained, with the front end (default: none)."}
    )
    layer_decay: float = field(default=0.85, metadata={"help": "Factor of the learning rate per layer downward."})
    head_factor: float = field(default=10.0, metadata={"help": "Factor of the learning rate for the head."})
    fit_head_first: bool = field(
        default=True, metadata={"help": "Start from logistic regression on the frozen encoder's output."}
    )
    calibrate: bool = field(
        default=True, metadata={"help": "Fold a temperature fitted on the validation speakers into the weights."}
    )
    reference_run: str | None = field(
        default=None,
        metadata={
            "help": "With --protocol full: runs of the same recipe on held-out speakers, separated by commas; the card "
            "has the figures of all, the model the temperature of the first. With --hold_out_validation false: run "
            "whose temperature the folds get."
        },
    )
    hold_out_validation: bool = field(
        default=True,
        metadata={
            "help": "Keep each fold's validation clips out of training. Without, they train too, as those of "
            "train.baseline do; nothing is then chosen, and the temperature is that of --reference_run."
        },
    )

    @property
    def reference_runs(self) -> list[str]:
        """The runs that ``reference_run`` names."""
        return [name.strip() for name in (self.reference_run or "").split(",") if name.strip()]


@dataclass
class AugmentationArguments:
    """How training clips are varied."""

    speed: float = field(default=0.1, metadata={"help": "Largest change of speed, as a share of 1."})
    gain_db: float = field(default=6.0, metadata={"help": "Largest change of level, in dB."})
    noise_probability: float = field(default=0.3, metadata={"help": "Share of clips with noise of 10 to 40 dB SNR."})
    silence_probability: float = field(default=0.5, metadata={"help": "Share of clips that lose outer silence."})
    spec_augment: float = field(default=0.05, metadata={"help": "Share of frames and of bins that SpecAugment masks."})
    mixup_alpha: float = field(default=0.4, metadata={"help": "Shape of mixup's Beta distribution; 0 turns it off."})
    mixup_probability: float = field(default=0.5, metadata={"help": "Share of batches that are mixed."})


@dataclass
class FinetuneTrainingArguments(TrainingArguments):
    """TrainingArguments with this project's defaults."""

    output_dir: str = field(default="runs/whisper-actor", metadata={"help": "Run folder that is written."})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Replace a run folder that exists."})
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
