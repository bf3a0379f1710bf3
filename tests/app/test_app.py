import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file

from app.app import build_parser, main
from app.guard import ENDING
from ser_hf.audio import SAMPLE_RATE
from tests.app.browser import free_port
from tests.synthetic import make_clip

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed


def test_environment_names_the_models_and_arguments_win(monkeypatch):
    monkeypatch.setenv("SER_HF_MODEL", "someone/model")
    monkeypatch.setenv("SER_HF_BASELINE", "someone/baseline")
    assert build_parser().parse_args([]).model == "someone/model"
    arguments = build_parser().parse_args(["--model", "other/model"])
    assert (arguments.model, arguments.baseline) == ("other/model", "someone/baseline")


def test_absent_model_is_said_in_words(capsys):
    assert main(["--model", "models/absent", "--port", str(free_port())]) == 2
    assert "models/absent" in capsys.readouterr().err


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
def served(model_folders, tmp_path) -> Iterator[tuple[subprocess.Popen, httpx.Client, Path]]:
    """``python -m app.app`` with tiny models, a client of it, and the folder that holds that of its uploads."""
    model, baseline = map(str, model_folders)
    uploads = tmp_path / "uploads"
    process = start(uploads, "-m", "app.app", "--model", model, "--baseline", baseline)
    try:
        line = next(line for line in process.stdout if "Listening on" in line)
        with httpx.Client(base_url=line.split("Listening on ")[1].split()[0], timeout=PATIENCE_SECONDS) as client:
            yield process, client, uploads
    finally:
        process.kill()


def ask(client: httpx.Client, recording: Path) -> str:
    """The address of the answer to a recording."""
    (path,) = client.post("gradio_api/upload", files={"files": (recording.name, recording.read_bytes())}).json()
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    return "gradio_api/call/analyze/" + client.post("gradio_api/call/analyze", json={"data": data}).json()["event_id"]


@pytest.fixture
def long_recording(tmp_path) -> Path:
    """Ten minutes of voice, the most that is taken, which is work for a while."""
    recording = tmp_path / "long.flac"
    soundfile.write(recording, np.resize(make_clip("happy", seconds=4), 590 * SAMPLE_RATE), SAMPLE_RATE)
    return recording


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_page_cleanly_and_whoever_waits_is_answered_or_told(served, number, long_recording):
    """More wait than may get their answer within the grace; a second signal changes nothing."""
    process, client, uploads = served
    waiting = [client.send(client.build_request("GET", ask(client, long_recording)), stream=True) for _ in range(6)]
    process.send_signal(number)
    process.send_signal(number)
    said = [response.read().decode() for response in waiting]
    rest = process.communicate(timeout=PATIENCE_SECONDS)[0]
    assert process.returncode == 0, rest
    assert rest == ""
    for words in said:
        assert "event: complete" in words or ENDING in words, words
    assert list(uploads.glob("ser_hf-voices-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["anyio", "Loading"])
def test_a_signal_while_the_page_starts_ends_it_as_cleanly(tmp_path, number, moment):
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


@pytest.mark.slow
def test_server_starts_by_its_path_and_leaves_no_voice_behind_when_terminated(model_folders, recordings, tmp_path):
    """With a visitor still there, whom Gradio does not wait for."""
    model, baseline = map(str, model_folders)
    uploads = tmp_path / "uploads"
    process = start(uploads, "app/app.py", "--model", model, "--baseline", baseline)
    try:
        line = next(line for line in process.stdout if "Listening on" in line)
        address = line.split("Listening on ")[1].split()[0]
        assert urllib.request.urlopen(address).status == 200
        client = Client(address, verbose=False, analytics_enabled=False)
        assert "label" in client.predict(handle_file(str(recordings / "clip.wav")), api_name="/analyze")["model"]
        assert [path for path in uploads.rglob("*") if path.is_file()]
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert not [path for path in uploads.rglob("*") if path.is_file()]


def test_a_limit_that_is_none_is_said_in_words(model_folders, monkeypatch, capsys):
    monkeypatch.setenv("SER_HF_LIMIT_SECONDS", "long")
    model, baseline = map(str, model_folders)
    assert main(["--model", model, "--baseline", baseline]) == 2
    assert "SER_HF_LIMIT_SECONDS='long'" in capsys.readouterr().err
