"""Fine-tuning: clips a second in float32, in bfloat16 where it is fast, and above what the frozen layers gave once.

Examples:

    python -m benchmarks.training
    python -m benchmarks.training --rounds 3
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import set_seed

from benchmarks.inputs import CLIP_SECONDS, OURS, WHISPER, clip_file, precision_of, stock_folder
from benchmarks.tables import Settings, Table, main, table_parser
from ser_hf.audio import load_audio
from ser_hf.command_line import CommandParser
from ser_hf.labels import LABELS
from ser_hf.models.frozen import FrozenStates, above_frozen
from ser_hf.splits import Fold
from train.arguments import parse_arguments
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.finetune_learning import (
    Sound,
    fold_training_arguments,
    keep_all_states,
    learn,
    lessons_of_sound,
    lessons_of_states,
    make_model,
    table_speakers,
)

RECIPE = Path(__file__).resolve().parent.parent / "train" / "recipes" / "whisper-regression.yaml"
ROUNDS = 3  # at most
CLIPS = 128  # what a round learns from: eight steps of the recipe

Arguments = tuple[ModelArguments, AugmentationArguments, FinetuneTrainingArguments]


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.training", __doc__)


def measure(settings: Settings) -> Table:
    """Clips a second of the headline recipe, augmentation, loading of batches and optimiser included."""
    ways = {name: _arguments(settings, name) for name in map(precision_of, reversed(OURS))}
    count = 32 if settings.tiny else CLIPS
    rng = np.random.default_rng(0)
    voice = load_audio(clip_file(settings.work))
    clips = [(voice + rng.normal(0, 0.001, len(voice))).astype(np.float32) for _ in range(count)]
    emotions = (np.arange(count) % len(LABELS)).tolist()
    table = Dataset.from_dict({"emotion": emotions, "corpus": ["made"] * count, "speaker": ["one"] * count})
    fastest = precision_of(OURS[0])
    model, augmentation, training = ways[fastest]
    keeping = dataclasses.replace(model, frozen_versions=1)
    start = time.perf_counter()
    folder = settings.work / f"frozen-{time.time_ns()}"
    states = keep_all_states(table, clips, folder, keeping, augmentation, training)
    kept = 2 * count / (time.perf_counter() - start)  # each as it is, and changed once
    taken: dict[str, list[float]] = {name: [] for name in (*ways, "above")}
    for _ in range(min(settings.rounds, ROUNDS)):
        for name, arguments in ways.items():
            taken[name].append(count / _clips_per_second(settings, clips, table, arguments))
        taken["above"].append(count / _clips_per_second(settings, clips, table, ways[fastest], states))
    words = {"above": f"{fastest}, above the {model.kept_layers} frozen layers, which were asked once"}
    median = {name: float(np.median(seconds)) for name, seconds in taken.items()}
    rows: list[list[str | float | None]] = [
        [words.get(name, name), count / seconds, median["float32"] / seconds] for name, seconds in median.items()
    ]
    rows.append(["asking the frozen layers, for each version of a clip", kept, None])
    return Table(
        "Training",
        f"Two layers above those that `train/recipes/{RECIPE.name}` freezes, fine-tuned, with random weights: "
        f"{count} clips of {CLIP_SECONDS} s, augmentation, collating and optimiser included, {settings.threads} "
        f"threads. Medians of {min(settings.rounds, ROUNDS)} rounds that take turns.",
        ["arithmetic", "clips a second", "times float32"],
        rows,
        taken,
    )


def _arguments(settings: Settings, precision: str) -> Arguments:
    words = ["--recipe", str(RECIPE), "--base_model", str(stock_folder(WHISPER, settings)), "--precision", precision]
    words += ["--num_train_epochs", "1", "--save_strategy", "no", "--disable_tqdm", "true", "--report_to", "none"]
    words += ["--fit_head_first", "false", "--logging_strategy", "no", "--deviations_above", ""]
    # The recipe learns nothing by gradient: measured is what fine-tuning two layers above its own would cost.
    words += ["--num_layers", "1", "--frozen_layers", "1"] if settings.tiny else ["--num_layers", "6"]
    model, *others = parse_arguments((ModelArguments, AugmentationArguments, FinetuneTrainingArguments), words)
    return (model.resolved(), *others)


def _clips_per_second(
    settings: Settings,
    clips: list[np.ndarray],
    table: Dataset,
    arguments: Arguments,
    states: FrozenStates | None = None,
) -> float:
    model_arguments, augmentation, training = arguments
    folder = settings.work / "training"
    args = fold_training_arguments(training, folder, has_validation=False)
    set_seed(args.seed)
    model, extractor = make_model(model_arguments, augmentation.spec_augment)
    nobody, everything = np.zeros(0, dtype=int), np.arange(len(clips))
    fold = Fold(index=0, train=everything, validation=nobody, test=nobody)
    if states is None:
        sound = Sound(clips, np.array(table["emotion"]), table_speakers(table), model, extractor, args.seed)
        lessons, learning = lessons_of_sound(sound, fold, augmentation), contextlib.nullcontext()
    else:
        lessons = lessons_of_states(states, fold, extractor, args.seed)
        learning = above_frozen(model, model_arguments.kept_layers)
    with learning:
        learn(model, lessons, folder, model_arguments, augmentation, args)
    return json.loads((folder / "log.json").read_text())[-1]["train_samples_per_second"]


if __name__ == "__main__":
    sys.exit(main(measure))
