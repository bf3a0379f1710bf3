import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from app.app import build_parser, main
from tests.app.browser import free_port

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def test_environment_names_the_models_and_arguments_win(monkeypatch):
    monkeypatch.setenv("SER_HF_MODEL", "someone/model")
    monkeypatch.setenv("SER_HF_BASELINE", "someone/baseline")
    assert build_parser().parse_args([]).model == "someone/model"
    arguments = build_parser().parse_args(["--model", "other/model"])
    assert (arguments.model, arguments.baseline) == ("other/model", "someone/baseline")


def test_absent_model_is_said_in_words(capsys):
    assert main(["--model", "models/absent"]) == 2
    assert "models/absent" in capsys.readouterr().err


@pytest.mark.slow
def test_server_starts_by_its_path_and_leaves_no_voice_behind_when_terminated(model_folders, recordings, tmp_path):
    """With a visitor still there, whom Gradio does not wait for."""
    model, baseline = map(str, model_folders)
    uploads = tmp_path / "uploads"
    command = [sys.executable, "app/app.py", "--model", model, "--baseline", baseline, "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "GRADIO_TEMP_DIR": str(uploads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
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
