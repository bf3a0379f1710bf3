"""How many kills a training survives: killed at moments spread over its life, it must end as it ends unbroken.

Examples:

    python -m tests.train.killed --kills 10
    python -m tests.train.killed --kills 50 --seed 1 --recipes cached

A tiny network is trained on synthetic voices by each recipe: "gradient" augments in every epoch and holds validation
clips out, "cached" trains on cached states, averages its weights and is calibrated over its folds. A run is killed with
SIGKILL when it is about to make, rename or delete a file, when a file is empty or half written, or behind a step; in
between, a kill finds the disk as it was behind one of these. Then the same command is run with --resume_from_checkpoint
true. Exit status: 0 if all ended with the same files and bytes as the unbroken run, else 1.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

# Before anything is imported that reads them.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np

from ser_hf.command_line import CommandParser
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base

SMALL = ["--window_seconds", "1", "--num_layers", "2", "--folds", "0,3", "--per_device_train_batch_size", "32"]
SMALL += ["--precision", "float32", "--disable_tqdm", "true"]
RECIPES = {
    "gradient": ["--frozen_layers", "1", "--num_train_epochs", "2"],
    "cached": [
        *("--frozen_layers", "1", "--num_train_epochs", "2", "--copies", "1", "--ema_decay", "0.9"),
        *("--hold_out_validation", "false", "--corpus_weights", "ravdess=0.5"),
    ],
}
EMOTIONS = ("happy", "sad", "angry")
LIVES = 50  # of one run; who needs more does not get on


@dataclass
class Outcome:
    """What came of killing runs of one recipe.

    Attributes:
        moments: the kills that were carried out, as the event before which each came.
        complaints: a sentence for each run that did not end as the unbroken one.
    """

    moments: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Kill runs of each recipe and print how many kills were survived; returns 1 if any was not."""
    arguments = build_parser().parse_args(argv)
    lost = killed = 0
    with tempfile.TemporaryDirectory(prefix="ser_hf-killed-") as work:
        common = prepare(Path(work))
        for recipe in arguments.recipes.split(","):
            outcome = survive(common, recipe, Path(work, recipe), arguments.kills, arguments.seed)
            print(f"{recipe}: killed {len(outcome.moments)} times")
            print(*(f"  {moment}" for moment in outcome.moments), sep="\n")
            print(*outcome.complaints, sep="\n", end="\n" if outcome.complaints else "")
            killed, lost = killed + len(outcome.moments), lost + len(outcome.complaints)
    print(f"kills: {killed}, runs that did not end as the unbroken one: {lost}")
    return 1 if lost else 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.train.killed", doc=__doc__)
    parser.add_argument("--kills", type=int, metavar="N", default=10, help="kills a recipe (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="what the moments are drawn by (default: 0)")
    parser.add_argument(
        "--recipes", metavar="NAMES", default=",".join(RECIPES), help=f"out of {', '.join(RECIPES)} (default: all)"
    )
    return parser


def prepare(work: Path) -> list[str]:
    """Make voices and a pretrained network; returns the arguments of every run of theirs."""
    make_ravdess(work / "data" / "ravdess", emotions=EMOTIONS, seconds=1.0)
    base = save_tiny_base("whisper", work / "base")
    return ["--base_model", str(base), "--data_dir", str(work / "data"), *SMALL]


def survive(common: Sequence[str], recipe: str, work: Path, kills: int, seed: int = 0) -> Outcome:
    """Kill runs of a recipe at moments spread over their lives: most of them once, and one again and again.

    Args:
        common: what `prepare` returned.
        work: folder for the runs.
        kills: how many; a third of them at one run.
    """
    work.mkdir(parents=True, exist_ok=True)
    words = [*common, *RECIPES[recipe]]
    code, events = live(words, work / "unbroken")
    if code:
        raise RuntimeError(f"the unbroken run failed: {(work / 'unbroken.log').read_text()[-2000:]}")
    expected, rng, outcome = content(work / "unbroken"), np.random.default_rng(seed), Outcome()

    def one_run(name: str, moments: Iterator[int]) -> None:
        folder, code, told = work / name, -signal.SIGKILL, []
        for number in range(LIVES):
            resume = ["--resume_from_checkpoint", "true"] if number else []
            code, happened = live([*words, *resume], folder, next(moments, None))
            if code != -signal.SIGKILL:
                break
            told.append(happened[-1])
        outcome.moments.extend(told)
        wrong = f"status {code}: {last_line(folder)}" if code else difference(expected, content(folder))
        if wrong:
            outcome.complaints.append(f"{recipe}, killed at {', '.join(told)}: {wrong}")

    again = kills // 3
    edges = np.linspace(0, len(events), kills - again + 1).astype(int)
    for number, (first, end) in enumerate(pairwise(edges)):
        one_run(f"once{number}", iter([int(rng.integers(first, end))]))
    if again:
        one_run("again", iter(rng.integers(0, len(events) // 3, again).tolist()))
    return outcome


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run folder; those that hold seconds of the clock count by their names alone."""
    timed = ("run.json", "fold.json", "log.json")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): b"" if path.name in timed else path.read_bytes() for path in files}


def difference(expected: dict[str, bytes], found: dict[str, bytes]) -> str:
    """In words, what is not as it must be; empty if all is."""
    missing, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    other = sorted(name for name in set(expected) & set(found) if expected[name] != found[name])
    parts = (("missing", missing), ("left over", more), ("other bytes", other))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def last_line(folder: Path) -> str:
    """The last words of a run."""
    return folder.with_suffix(".log").read_text(encoding="utf-8").strip().splitlines()[-1]


def live(words: Sequence[str], folder: Path, moment: int | None = None) -> tuple[int, list[str]]:
    """Train in a process of its own, forked from one that has imported everything.

    Args:
        moment: event to be killed at (None: live to the end).

    Returns:
        Exit status, negative for a signal, and the events that happened.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.synthetic", "tests.tiny_bases", "train.finetune"])
    events = folder.with_suffix(".events")
    events.unlink(missing_ok=True)
    process = context.Process(target=_train, args=([*words, "--output_dir", str(folder)], folder, moment))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, events.read_text(encoding="utf-8").splitlines()


def _train(words: list[str], folder: Path, moment: int | None) -> None:
    """What the process does."""
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    from tqdm import tqdm

    from train import finetune

    os.environ["SER_HF_CACHE"] = f"{folder}.cache"
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a kill leaves behind
    _watch(folder, moment)
    sys.exit(finetune.main(words))


def _watch(folder: Path, moment: int | None) -> None:
    """Write down every event of this process, and kill it at one."""
    import safetensors.numpy
    import torch
    from transformers import modeling_utils

    from ser_hf.models import familiarity, training

    events = os.open(folder.with_suffix(".events"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    happened = 0

    def event(what: str, leave: Callable[[], Any] = lambda: None) -> None:
        """Something is about to happen; `leave` leaves the disk as a kill in the midst of it would."""
        nonlocal happened
        os.write(events, f"{what}\n".encode())
        if happened == moment:
            happened += 1  # what `leave` does is no event
            leave()
            os.kill(os.getpid(), signal.SIGKILL)
        happened += 1

    def audit(name: str, args: tuple) -> None:
        if moment is not None and happened > moment:
            return
        if name == "open" and isinstance(args[0], (str, bytes)) and inside(args[0]) and args[2] & os.O_CREAT:
            event(f"open {short(args[0])}", lambda: os.close(os.open(args[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)))
        # What is named by its folder's file descriptor is part of a whole folder that is being deleted.
        elif (name in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") and inside(args[0])) or (
            name in ("os.remove", "os.rmdir") and args[1] != -1
        ):
            event(f"{name.removeprefix('os.')} {short(args[0])}")

    def inside(path: Any) -> bool:
        return str(path).startswith((f"{folder}{os.sep}", f"{folder}.cache{os.sep}")) or str(path) == str(folder)

    def short(path: Any) -> str:
        return os.path.relpath(path, folder) if inside(path) else str(path)

    def halved(write: Callable[..., Any]) -> Callable[..., Any]:
        """A writer that Python does not see at work: killed before it, or with half of its file written."""

        def written(what: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            def half() -> None:
                write(what, path, *args, **kwargs)
                os.truncate(path, os.path.getsize(path) // 2)

            event(f"write {short(path)}")
            event(f"half of {short(path)}", half)
            write(what, path, *args, **kwargs)

        return written

    class Stepping(training.SetEpoch):
        def on_step_end(self, args, state, control, **kwargs):
            event(f"step {state.global_step}")

    torch.save = halved(torch.save)
    modeling_utils.safe_save_file = halved(modeling_utils.safe_save_file)
    familiarity.save_file = halved(safetensors.numpy.save_file)
    training.save_file = halved(training.save_file)
    training.SetEpoch = Stepping
    sys.addaudithook(audit)


if __name__ == "__main__":
    sys.exit(main())
