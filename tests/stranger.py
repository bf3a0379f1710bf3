"""Somebody who has never seen the repository: a fresh copy of it, recordings, small corpora, an account on a Hub.

All that is not real is behind the environment: ``SER_HF_DATA`` names small corpora of made-up voices, ``HF_ENDPOINT`` a
Hub on this machine, where ``openai/whisper-base`` is a network of a few kilobytes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import soundfile

from tests.corpora.trees import make_cremad, make_emodb, make_savee, make_tess
from tests.local_hub import HubServer, environment
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base

REPOSITORY = Path(__file__).resolve().parent.parent
USER = "USER"  # as README.md calls whoever reads it
# Python's own terminal; its last line is what it has shown, as JSON.
TERMINAL = """
import ast, dataclasses, json, sys
shown, names = [], {"__name__": "__main__"}
sys.displayhook = shown.append
for line in ast.parse(sys.stdin.read()).body:
    exec(compile(ast.Interactive([line]), "README.md", "single"), names)
print(json.dumps(shown, default=lambda one: vars(one) if dataclasses.is_dataclass(one) else repr(one)))
"""


class Stranger:
    """A person in a terminal, in a fresh copy of the repository.

    Args:
        home: an empty folder for all that is theirs.
        hub: a Hub with an account of theirs, `USER`.

    Attributes:
        folder: the copy, with ``clip.wav``, ``recordings/`` and ``recordings.zip`` in it.
        environment: of their terminal.
    """

    def __init__(self, home: Path, hub: HubServer):
        self.folder, data, programs = home / "ser_hf", home / "data", home / "bin"
        copy_repository(self.folder)
        (self.folder / ".venv").symlink_to(sys.prefix)
        make_recordings(self.folder)
        make_corpora(data)
        (self.folder / "path" / "to").mkdir(parents=True)
        (self.folder / "path" / "to" / "data").symlink_to(data)
        programs.mkdir()
        (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        store_base(hub, home / "base")
        self._servers: list[subprocess.Popen[str]] = []
        path = os.pathsep.join([str(programs), str(self.folder / ".venv" / "bin"), os.environ["PATH"]])
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            **environment(hub, hub.token(USER), home / "client"),
            **{"PATH": path, "SER_HF_DATA": str(data), "SER_HF_CACHE": str(home / "cache"), "PYTHONUNBUFFERED": "1"},
        }

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Carry a line out as bash does."""
        return subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def show(self, block: str) -> list[Any]:
        """What Python shows of a block: the value of each line that has one, or what stands for it in a terminal."""
        done = subprocess.run(
            [sys.executable, "-c", TERMINAL],
            input=block,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def serve(self, line: str, ready: str) -> str:
        """Begin what goes on until Ctrl+C; returns what it has printed when it prints ``ready``."""
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that Ctrl+C reaches all of it, and nobody else
            # Who runs in the background, as a suite may, has Ctrl+C ignored, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._servers.append(process)
        printed = ""
        assert process.stdout is not None
        for text in process.stdout:
            printed += text
            if ready in text:
                return printed
        raise AssertionError(f"{line} ended:\n{printed}")

    def leave(self) -> None:
        """Press Ctrl+C in every terminal."""
        for process in self._servers:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)


def copy_repository(folder: Path) -> None:
    """What a clone would hold, and what git does not know yet; of the same age, so that make installs nothing anew."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


def make_recordings(folder: Path) -> None:
    """``clip.wav``, ``recordings/`` and ``recordings.zip``, out of the page's examples."""
    examples = folder / "app" / "examples"
    (folder / "recordings").mkdir()
    for name, wav in (("plain", "clip"), ("telephone", "recordings/telephone"), ("changing", "recordings/changing")):
        soundfile.write(folder / f"{wav}.wav", *soundfile.read(examples / f"{name}.flac"))
    shutil.make_archive(str(folder / "recordings"), "zip", folder / "recordings")


def make_corpora(data: Path) -> None:
    """Every corpus in its official layout: short clips of three emotions, that is all a protocol asks for."""
    make_ravdess(data / "ravdess", emotions=("neutral", "happy", "sad"), seconds=0.5)
    make_emodb(data / "emodb", letters="NFT")
    make_tess(data / "tess", words=("back",))
    make_cremad(data / "cremad", emotions=("NEU", "HAP", "SAD"))
    make_savee(data / "savee")


def store_base(hub: HubServer, folder: Path) -> None:
    """Put a tiny ``openai/whisper-base`` on a Hub."""
    hub.store.create("model", "openai/whisper-base")
    files = save_tiny_base("whisper", folder, num_layers=4).iterdir()
    hub.store.add("model", "openai/whisper-base", {path.name: path.read_bytes() for path in files})


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
