"""Fine-tuning: clips a second in float32, in bfloat16 where it is fast, and on cached states of the frozen layers.

Examples:

    python -m benchmarks.training
    python -m benchmarks.training --rounds 3
"""

from __future__ import annotations

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
from ser_hf.models.states import cached_states
from ser_hf.splits import Fold
from train.arguments import parse_arguments
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.finetune_data import Experiment
from train.finetune_fold import train

RECIPE = Path(__file__).resolve().parent.parent / "train" / "recipes" / "whisper.yaml"
ROUNDS = 3  # at most
CLIPS = 128  # of a round: four steps of the recipe
CACHED = "cached states"


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.training", __doc__)


def measure(settings: Settings) -> Table:
    """Clips a second of the headline recipe: augmentation, loading of batches and optimiser included."""
    count = 32 if settings.tiny else CLIPS
    rng = np.random.default_rng(0)
    voice = load_audio(clip_file(settings.work))
    clips = [(voice + rng.normal(0, 0.001, len(voice))).astype(np.float32) for _ in range(count)]
    emotions = (np.arange(count) % len(LABELS)).tolist()
    table = Dataset.from_dict({"emotion": emotions, "corpus": ["ravdess"] * count, "speaker": ["01"] * count})
    ways = {name: _experiment(settings, table, clips, name) for name in map(precision_of, reversed(OURS))}
    fastest = precision_of(OURS[0])
    ways[CACHED] = cached = _experiment(settings, table, clips, fastest, copies=1)
    start = time.perf_counter()
    cached.states = _states(cached, settings.work / f"states-{time.time_ns()}")
    encoded = 2 * count / (time.perf_counter() - start)  # each clip and one copy of it
    rounds = min(settings.rounds, ROUNDS)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, experiment in ways.items():
            taken[name].append(_seconds(experiment, settings.work / "training") / count)
    words = {CACHED: f"{fastest}, on {CACHED} of the {cached.model.frozen_layers} frozen layers"}
    median = {name: float(np.median(seconds)) for name, seconds in taken.items()}
    rows: list[list[str | float | None]] = [
        [words.get(name, name), 1 / seconds, median["float32"] / seconds] for name, seconds in median.items()
    ]
    rows.append(["encoding by the frozen layers, for the cache", encoded, None])
    return Table(
        "Training",
        f"`train/recipes/{RECIPE.name}` with random weights: {count} clips of {CLIP_SECONDS} s, augmentation, batching "
        f"and optimiser included, {settings.threads} threads. Medians of {rounds} rounds that take turns.",
        ["arithmetic", "clips a second", "times float32"],
        rows,
        taken,
    )


def _experiment(
    settings: Settings, table: Dataset, clips: list[np.ndarray], precision: str, copies: int = 0
) -> Experiment:
    words = ["--recipe", str(RECIPE), "--base_model", str(stock_folder(WHISPER, settings)), "--precision", precision]
    words += ["--max_steps", "-1", "--num_train_epochs", "1", "--save_strategy", "no", "--logging_strategy", "no"]
    words += ["--disable_tqdm", "true", "--fit_head_first", "false", "--dataloader_num_workers", "0"]
    words += ["--copies", str(copies), *(["--num_layers", "1", "--frozen_layers", "1"] if settings.tiny else [])]
    model, *others = parse_arguments((ModelArguments, AugmentationArguments, FinetuneTrainingArguments), words)
    return Experiment(table, clips, model, *others)


def _states(experiment: Experiment, folder: Path) -> list[list[np.ndarray]]:
    """States of the clips and of one copy of each, as `Experiment.states` makes them."""
    model, extractor = experiment.create()
    rows, window = np.arange(len(experiment.clips)), experiment.model.window_seconds or 0.0
    sounds = [experiment.sound(rows, window), experiment.sound(rows, window, augmented=True, short_windows=True)]
    bfloat16 = experiment.training.bf16
    layers = experiment.model.frozen_layers
    return [
        cached_states(model.eval(), extractor, layers, sound, folder / f"{copy}.npy", bfloat16=bfloat16)
        for copy, sound in enumerate(sounds)
    ]


def _seconds(experiment: Experiment, folder: Path) -> float:
    """How long an epoch takes."""
    nobody = np.zeros(0, dtype=int)
    fold = Fold(index=0, train=np.arange(len(experiment.clips)), validation=nobody, test=nobody)
    set_seed(experiment.training.seed)
    train(*experiment.create(), experiment, fold, folder)
    return json.loads((folder / "log.json").read_text())[-1]["train_runtime"]


if __name__ == "__main__":
    sys.exit(main(measure))
