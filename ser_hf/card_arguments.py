"""What a card says of the arguments that a model was trained with."""

from __future__ import annotations

from typing import Any

from ser_hf.card_section import Section, Table

# Those of a run's arguments that decide about the model, with what they mean.
ARGUMENTS = {
    "features": "groups of features",
    "num_layers": "encoder layers that are kept, from the bottom",
    "frozen_layers": "the lowest layers, which stay as pretrained with the front end",
    "frozen_versions": "changed versions of each clip that are kept behind them; 0 makes new ones in each epoch",
    "deviations_above": "layers whose means and deviations the head hears, each through a layer above it",
    "weighted_layer_sum": "whether a learned mean of all layers is classified",
    "window_seconds": "seconds that the model hears at once",
    "fit_head_first": "start from a linear classifier of the frozen encoder's output",
    "head_shrinkage": "shrinkage of the linear discriminant analysis by which the head is fitted",
    "refit": "whether the validation clips are learned from, too, once they have told the temperature",
    "num_train_epochs": "passes over the training clips",
    "max_steps": "updates of the weights",
    "per_device_train_batch_size": "clips a step",
    "gradient_accumulation_steps": "steps that are summed up to one update",
    "optim": "optimiser",
    "learning_rate": "learning rate of the top layer",
    "layer_decay": "factor of the rate per layer downward",
    "head_factor": "factor of the rate for the head; 0 leaves it as it was fitted",
    "balance_labels": "whether each label has the same weight, however many clips it has",
    "lr_scheduler_type": "how the rate falls",
    "warmup_steps": "steps of rising rate; below 1, their share of all steps",
    "weight_decay": "weight decay of the optimiser",
    "label_smoothing_factor": "share of a label that is spread over all",
    "speed": "largest change of speed, as a share of 1",
    "gain_db": "largest change of level, dB",
    "noise_probability": "share of clips with added noise, 10 to 40 dB SNR",
    "silence_probability": "share of clips that lose silence at their ends",
    "pitch_semitones": "largest shift of pitch, semitones",
    "stretch": "largest change of tempo without pitch, as a share of 1",
    "shift": "largest shift in time, s",
    "join_probability": "share of clips joined with another of the same speaker and emotion",
    "room_probability": "share of clips that are put into a room",
    "level_range_db": "range of the voice's level, dB",
    "tilt_db": "largest tilt of the spectrum, dB an octave",
    "band_probability": "share of clips that are limited to a telephone's band",
    "codec_probability": "share of clips that go through a codec",
    "no_speech": "share of made-up sounds without speech, answered alike for all labels",
    "copies": "augmented copies of each clip, made once",
    "spec_augment": "share of frames and of bins that SpecAugment masks",
    "mixup_alpha": "shape of mixup's Beta distribution; 0 is no mixup",
    "mixup_probability": "share of batches that are mixed",
    "precision": "arithmetic; auto is bfloat16 where the machine is faster with it",
    "seed": "of all that is random",
}
OF_GRADIENTS = {  # those that decide nothing where no epoch is learned
    *("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate"),
    *("layer_decay", "head_factor", "lr_scheduler_type", "warmup_steps", "weight_decay", "label_smoothing_factor"),
    *("mixup_alpha", "mixup_probability"),
}


def argument_table(recipe: Section) -> Table:
    """The arguments of the run that measured a recipe, each with what it means; none that had no effect."""
    arguments = {"seed": recipe.evaluation.run.get("seed"), **recipe.evaluation.arguments}
    hidden = {"num_train_epochs" if (arguments.get("max_steps") or -1) > 0 else "max_steps"}  # updates win over epochs
    hidden |= {"gradient_accumulation_steps"} if arguments.get("gradient_accumulation_steps") == 1 else set()
    hidden |= OF_GRADIENTS if arguments.get("num_train_epochs") == 0 else set()
    shown = {key: arguments[key] for key in ARGUMENTS if arguments.get(key) is not None and key not in hidden}
    return ["argument", "value"], [[f"`{key}`: {ARGUMENTS[key]}", _value(value)] for key, value in shown.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace(",", ", ")
