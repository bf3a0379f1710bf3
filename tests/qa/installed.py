"""The package and the page as users install them: the wheel in an environment, the Docker image's files alone."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

from gradio_client import Client, handle_file

import ser_hf
from tests.app.browser import free_port
from tests.test_project import CLIP, COPIES, REPOSITORY, build_wheel, docker


def test_wheel_is_installed_and_predicts(tmp_path):
    """Built, and installed into an environment that finds the dependencies by a link to this one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build_wheel(tmp_path)
    (built,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(built)], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "linked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = str(python.with_name("ser-hf"))

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert ser_hf.__version__ in run(command, "--version")
    for model in ("ser-svm", "ser-whisper"):
        row = json.loads(run(command, "predict", str(CLIP), "--model", model, "--format", "jsonl"))
        assert row["file"] == str(CLIP)
    assert Path(run(str(python), "-c", "import ser_hf; print(ser_hf.__file__)")).is_relative_to(tmp_path)


def test_docker_page_starts_from_the_copied_files_alone(tmp_path):
    work = tmp_path / "image"
    for *sources, destination in COPIES:
        for source in map(REPOSITORY.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, work / destination, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                work.mkdir(exist_ok=True)
                shutil.copy(source, work / destination)
    copied = {path for path in work.rglob("*") if path.is_file()}
    variables = dict(pair.split("=", 1) for line in docker("ENV") for pair in shlex.split(line))
    environment = {name: str(tmp_path) + value if value[0] == "/" else value for name, value in variables.items()}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"GRADIO_SERVER_PORT": str(free_port()), "https_proxy": "http://127.0.0.1:9"}  # no network
    health = json.loads(docker("HEALTHCHECK")[0].split(" CMD ")[1])
    page = subprocess.Popen(json.loads(docker("CMD")[0]), cwd=work, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while subprocess.run(health, env=environment, capture_output=True, check=False).returncode != 0:
            assert page.poll() is None, page.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(1)
        address = f"http://127.0.0.1:{environment['GRADIO_SERVER_PORT']}"
        client = Client(address, verbose=False, analytics_enabled=False)
        answer = client.predict(handle_file(CLIP), api_name="/analyze")
        client.close()
        assert answer["model"]["label"] in answer["model"]["scores"]
        page.send_signal(signal.SIGTERM)
        assert page.wait(timeout=60) == 0
    finally:
        page.kill()
    assert {path for path in work.rglob("*") if path.is_file()} == copied
