import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from app.app import SIGNALS, build_parser, main
from app.page import CLOSING
from ser_hf.audio import SAMPLE_RATE
from tests.app.browser import free_port
from tests.app.http_requests import first_lines, submit, upload
from tests.synthetic import make_clip

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed


def test_environment_names_the_models_and_arguments_win(monkeypatch):
    monkeypatch.setenv("SER_HF_MODEL", "someone/model")
    monkeypatch.setenv("SER_HF_BASELINE", "someone/baseline")
    assert build_parser().parse_args([]).model == "someone/model"
    arguments = build_parser().parse_args(["--model", "other/model"])
    assert (arguments.model, arguments.baseline) == ("other/model", "someone/baseline")


@pytest.mark.parametrize(("limit", "words"), [("120", "models/absent"), ("long", "SER_HF_LIMIT_SECONDS='long'")])
def test_main_reports_why_it_cannot_start(tmp_path, monkeypatch, capsys, limit, words):
    monkeypatch.setenv("SER_HF_LIMIT_SECONDS", limit)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        assert main(["--model", "models/absent", "--port", str(free_port())]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert words in capsys.readouterr().err
    assert list(tmp_path.glob("ser_hf-voices-*")) == []


def start(uploads: Path, *words: str) -> subprocess.Popen:
    """A Python of its own with these words, what it prints as text, and where its uploads go."""
    return subprocess.Popen(
        [sys.executable, *words, "--port", str(free_port())],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "GRADIO_TEMP_DIR": str(uploads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def served(tiny_whisper, tiny_svm, tmp_path) -> Iterator[tuple[subprocess.Popen, httpx.Client, Path]]:
    """``python -m app.app`` with tiny models, a client of it, and the folder that holds that of its uploads."""
    uploads = tmp_path / "uploads"
    process = start(uploads, "-m", "app.app", "--model", str(tiny_whisper), "--baseline", str(tiny_svm))
    try:
        line = next(line for line in process.stdout if "Listening on" in line)
        with httpx.Client(base_url=line.split("Listening on ")[1].split()[0], timeout=PATIENCE_SECONDS) as client:
            yield process, client, uploads
    finally:
        process.kill()


@pytest.mark.slow
def test_signal_ends_the_page_and_tells_who_waits(served, tmp_path):
    """More wait than may get their result within the grace; a second signal changes nothing."""
    process, client, uploads = served
    recording = tmp_path / "long.flac"  # the longest that is taken, which is work for a while
    soundfile.write(recording, np.resize(make_clip("happy", seconds=4), 590 * SAMPLE_RATE), SAMPLE_RATE)
    (path,) = upload(client, recording.name, recording.read_bytes()).json()
    waiting = [submit(client, path) for _ in range(6)]
    with ThreadPoolExecutor() as pool:
        responses = [pool.submit(first_lines, client, path, 2) for path in waiting]
        time.sleep(1)  # they are read
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        said = [response.result(timeout=PATIENCE_SECONDS) for response in responses]
    assert (process.communicate(timeout=PATIENCE_SECONDS)[0], process.returncode) == ("", 0)
    assert all(event == "event: complete" or CLOSING in data for event, data in said), said
    assert list(uploads.glob("ser_hf-voices-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "number"), [("anyio", signal.SIGINT), ("Loading", signal.SIGTERM)])
def test_signal_ends_a_page_that_starts(tmp_path, number, moment):
    """While Gradio is being imported, which Python is asked to tell, and while the models are loaded."""
    process = start(tmp_path, "-X", "importtime", "-m", "app.app")
    try:
        next(line for line in process.stdout if moment in line)
        process.send_signal(number)
        printed = process.communicate(timeout=PATIENCE_SECONDS)[0]
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in printed
    assert list(tmp_path.glob("ser_hf-voices-*")) == []
