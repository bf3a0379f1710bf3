"""A page that is served by a process of its own, and a Chromium to look at it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from playwright.sync_api import Browser, Playwright

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed


def find_chromium() -> str | None:
    """The program, or None where it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def launch_chromium(playwright: Playwright, microphone: Path | None = None) -> Browser:
    """A headless Chromium that may use its microphone without asking.

    Args:
        microphone: a wav file that it hears instead of one, again and again.
    """
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ]
    if microphone is not None:
        arguments.append(f"--use-file-for-fake-audio-capture={microphone}")
    return playwright.chromium.launch(executable_path=find_chromium(), args=arguments)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def served_page(*options: str, stderr: IO[str] | None = None) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """``python -m app.app`` with these options on a free port, until the block ends.

    Args:
        stderr: a file for what it prints there, instead of the terminal.

    Yields:
        Its address, its process, and the seconds from its start to its first page.
    """
    port = free_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.app", "--port", str(port), *options],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        while not _responds(address):
            if process.poll() is not None or time.perf_counter() - started > PATIENCE_SECONDS:
                raise RuntimeError("the page did not start")
            time.sleep(0.05)
        yield address, process, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def resident_megabytes(process_id: int) -> float:
    """Memory of a process and its children (Linux)."""
    process = Path("/proc") / str(process_id)
    status = (process / "status").read_text(encoding="utf-8")
    size = int(status.split("VmRSS:")[1].split()[0]) / 1024
    children = [child for task in (process / "task").iterdir() for child in (task / "children").read_text().split()]
    return size + sum(map(resident_megabytes, map(int, children)))


def _responds(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False
