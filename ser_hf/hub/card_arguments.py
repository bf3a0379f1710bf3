"""What a card says of the arguments that a model was trained with."""

from __future__ import annotations

from typing import Any

from ser_hf.hub.evaluation import Evaluation

# Those of a run's arguments that decide about the model, with what they mean.
ARGUMENTS = {
    "features": "groups of features",
    "num_layers": "encoder layers that are kept, from the bottom",
    "frozen_layers": "lowest layers that stay as pretrained, with the front end",
    "copies": "augmented copies of each clip behind the frozen layers; 0 augments in every epoch",
    "window_seconds": "window of the model in seconds",
    "fit_head_first": "start from a logistic regression on the frozen encoder's output",
    "num_train_epochs": "epochs",
    "max_steps": "optimiser steps",
    "per_device_train_batch_size": "clips in a training batch",
    "gradient_accumulation_steps": "batches per optimiser step",
    "optim": "optimiser",
    "learning_rate": "learning rate of the top layer",
    "layer_decay": "factor of the learning rate per layer downward",
    "head_factor": "factor of the learning rate for the head",
    "ema_decay": "decay of the moving average of the weights",
    "corpus_weights": "share of a corpus in the training examples; the others by the square root of their clips",
    "lr_scheduler_type": "learning rate schedule",
    "warmup_steps": "warm-up steps; below 1, their share of all steps",
    "weight_decay": "weight decay",
    "label_smoothing_factor": "label smoothing",
    "speed": "largest change of speed, as a share of 1",
    "gain_db": "largest change of level, dB",
    "level_range_db": "width of the range that the level is drawn from, whatever it was, dB",
    "noise_probability": "share of clips with added noise, 10 to 40 dB SNR",
    "silence_probability": "share of clips that lose silence at their ends",
    "pitch_semitones": "largest shift of pitch, semitones",
    "room_probability": "share of clips with simulated reverberation",
    "tilt_db": "largest tilt of the spectrum, dB per octave",
    "band_probability": "share of clips limited to a telephone's band",
    "codec_probability": "share of clips that pass a lossy codec",
    "crop_probability": "share of clips cropped to 0.8 to 2.2 s of their speech",
    "join_probability": "share of clips joined with another of the same speaker and label",
    "keep_positions": "share of a cached copy's positions that a training step sees",
    "corpus_shift": "shift cached copies by random parts of the differences between the means of corpora",
    "spec_augment": "share of frames and of bins that SpecAugment masks",
    "mixup_alpha": "shape of mixup's Beta distribution; 0 is no mixup",
    "mixup_probability": "share of batches that are mixed",
    "precision": "arithmetic; auto is bfloat16 where the machine is faster with it",
    "seed": "random seed",
}
OF_GRADIENTS = {  # those that have no effect in a linear probe, which takes no gradient step
    *("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate"),
    *("layer_decay", "head_factor", "ema_decay", "lr_scheduler_type", "warmup_steps", "weight_decay"),
    *("label_smoothing_factor", "mixup_alpha", "mixup_probability", "keep_positions", "corpus_shift"),
}


def card_arguments(recipe: Evaluation) -> list[tuple[str, str, str]]:
    """The arguments of the run that measured a recipe: name, meaning and value; none that had no effect."""
    arguments = {"seed": recipe.run.get("seed"), **recipe.arguments}
    hidden = {"num_train_epochs" if (arguments.get("max_steps") or -1) > 0 else "max_steps"}  # updates win over epochs
    hidden |= {"gradient_accumulation_steps"} if arguments.get("gradient_accumulation_steps") == 1 else set()
    hidden |= OF_GRADIENTS if arguments.get("num_train_epochs") == 0 else set()
    shown = [name for name in ARGUMENTS if arguments.get(name) is not None and name not in hidden]
    return [(name, ARGUMENTS[name], _value(arguments[name])) for name in shown]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value).replace(",", ", ")
