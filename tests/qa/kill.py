"""Kill trainings with SIGKILL whenever they change the disk: resumed, they must end as the uninterrupted one.

A tiny network is trained on synthetic voices. A run is killed when it is about to create, rename or delete a file or
folder, when a file is still empty, or when one is half written; a kill in between finds the same files as one of these.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 10
MAX_LIVES = 50  # of one run; one that needs more makes no progress
RECIPES = {
    "gradient": ["--frozen_layers", "1", "--num_train_epochs", "2"],
    "cached": [
        *("--frozen_layers", "1", "--num_train_epochs", "2", "--copies", "1", "--ema_decay", "0.9"),
        *("--hold_out_validation", "false", "--corpus_weights", "ravdess=0.5"),
    ],
}
SMALL = ["--window_seconds", "1", "--num_layers", "2", "--folds", "0,3", "--per_device_train_batch_size", "32"]
SMALL += ["--precision", "float32", "--disable_tqdm", "true"]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of every run: a tiny pretrained network, synthetic voices, two folds."""
    # Not above: it imports transformers, which the killed process must not do before `watch`.
    from tests.synthetic import make_ravdess
    from tests.tiny_bases import save_tiny_base

    folder = tmp_path_factory.mktemp("material")
    make_ravdess(folder / "data" / "ravdess", emotions=("happy", "sad", "angry"), seconds=1.0)
    return ["--base_model", str(save_tiny_base("whisper", folder / "base")), "--data_dir", str(folder / "data"), *SMALL]


@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_trainings_end_as_the_uninterrupted_one(recipe: str, common: list[str], tmp_path: Path):
    words, rng = [*common, *RECIPES[recipe]], np.random.default_rng(0)
    code, events = live(words, tmp_path / "whole")
    assert code == 0, (tmp_path / "whole.log").read_text()
    expected = contents(tmp_path / "whole")
    # Most runs are killed once, and one of them again and again.
    plans = [[moment] for moment in np.linspace(0, len(events) - 1, KILLS).astype(int).tolist()]
    plans += [rng.integers(0, len(events) // 3, KILLS // 3).tolist()]
    for number, moments in enumerate(plans):
        folder, killed_at = tmp_path / str(number), []
        for life in range(MAX_LIVES):
            resume = ["--resume_from_checkpoint", "true"] if life else []
            code, events = live([*words, *resume], folder, moments[life] if life < len(moments) else None)
            if code != -signal.SIGKILL:
                break
            killed_at.append(events[-1])
        assert code == 0, f"killed at {killed_at}: {folder.with_suffix('.log').read_text()}"
        assert killed_at
        found = contents(folder)
        wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        assert not wrong, f"killed at {killed_at}: missing, left over or different: {sorted(wrong)}"


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a run folder; of those that hold seconds of the clock, the names alone."""
    timed = ("run.json", "fold.json", "log.json")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): b"" if path.name in timed else path.read_bytes() for path in files}


def live(words: Sequence[str], folder: Path, moment: int | None = None) -> tuple[int, list[str]]:
    """Train in another process, which kills itself at an event (None: runs to the end).

    Returns:
        Exit status, negative for a signal, and the events that happened.
    """
    command = [sys.executable, "-m", "tests.qa.kill", str(folder), str(moment), *words, "--output_dir", str(folder)]
    environment = os.environ | {"SER_HF_CACHE": f"{folder}.cache"}
    with folder.with_suffix(".log").open("a") as log:
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, check=False)
    return done.returncode, folder.with_suffix(".events").read_text(encoding="utf-8").splitlines()


def watch(folder: Path, moment: int | None) -> None:
    """Write down every event of this process, and kill it at one; call it before transformers is imported."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    events = os.open(folder.with_suffix(".events"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    happened, dying = 0, False

    def event(what: str, leave: Callable[[], Any] = lambda: None) -> None:
        """Something is about to happen; `leave` leaves the disk as a kill in the midst of it would."""
        nonlocal happened, dying
        if dying:
            return
        os.write(events, f"{what}\n".encode())
        happened += 1
        if moment is not None and happened > moment:
            dying = True  # what `leave` does is no event
            leave()
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, args: tuple) -> None:
        if name == "open" and isinstance(args[0], (str, bytes)) and inside(args[0]) and args[2] & os.O_CREAT:
            event(f"open {args[0]}", lambda: os.close(os.open(args[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)))
        # What is named by the file descriptor of its folder is part of a tree that is being deleted.
        elif (name in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") and inside(args[0])) or (
            name in ("os.remove", "os.rmdir") and args[1] != -1
        ):
            event(f"{name} {args[0]}")

    def inside(path: Any) -> bool:
        return str(path).startswith((f"{folder}{os.sep}", f"{folder}.cache{os.sep}")) or str(path) == str(folder)

    def halved(write: Callable[..., Any]) -> Callable[..., Any]:
        """A writer in compiled code, which raises no audit events: killed before it, or with half of its file."""

        def written(what: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            def half() -> None:
                write(what, path, *args, **kwargs)
                os.truncate(path, os.path.getsize(path) // 2)

            event(f"write {path}")
            event(f"half of {path}", half)
            write(what, path, *args, **kwargs)

        return written

    torch.save = halved(torch.save)
    safetensors.torch.save_file = halved(safetensors.torch.save_file)
    safetensors.numpy.save_file = halved(safetensors.numpy.save_file)
    sys.addaudithook(audit)


if __name__ == "__main__":
    run_folder, at, *arguments = sys.argv[1:]
    watch(Path(run_folder), None if at == "None" else int(at))
    from train import finetune

    sys.exit(finetune.main(arguments))
