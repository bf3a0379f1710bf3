"""To the Hub and back, as strangers would: what is published is used where nothing of this project is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from gradio_client import Client, handle_file

from ser_hf import EmotionClassifier
from ser_hf.audio import load_audio
from tests.app.browser import free_port
from tests.hub_server import HubServer, environment

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "app" / "examples" / "loud-pressed-fast.flac"
PUBLISH = [
    *(sys.executable, "-m", "train.publish"),
    *("--model", "models/ser-whisper", "--repo", "alice/ser-whisper"),
    *("--baseline", "models/ser-svm", "--space", "alice/speech-emotion"),
]
REPOSITORIES = [
    ("model", "alice/ser-whisper"),
    ("model", "alice/ser-whisper-baseline"),
    ("space", "alice/speech-emotion"),
]
DOWNLOAD = """
import sys
from huggingface_hub import snapshot_download

snapshot_download(sys.argv[1], repo_type="space", local_dir=sys.argv[2])
"""
CLASSIFY = """
import json, sys
import soundfile
from transformers import pipeline

assert not any(name.split(".")[0] in ("ser_hf", "train", "app") for name in sys.modules)
try:
    import ser_hf
except ImportError:
    samples, rate = soundfile.read(sys.argv[2], dtype="float32")
    assert rate == 16000
    rows = pipeline("audio-classification", model=sys.argv[1])(samples, top_k=None)
    print(json.dumps({row["label"]: row["score"] for row in rows}))
else:
    sys.exit("this project is installed where it should not be")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub"), users={"alice": "hf_alice"}) as hub:
        yield hub


@pytest.fixture(scope="module")
def us(hub, tmp_path_factory) -> dict[str, str]:
    """The environment of who publishes."""
    return {**os.environ, **environment(hub, hub.token("alice"), tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def after_the_kill(hub, us) -> dict[str, list]:
    """What the Hub holds of each repository when the first publication was killed as it sent a large file."""
    hub.hold_uploads()
    process = subprocess.Popen(PUBLISH, cwd=REPOSITORY, env=us)
    try:
        assert hub.upload_started.wait(300)
    finally:
        process.kill()
        process.wait()
        hub.mend()
    return {
        repo_id: list(hub.store.files(repo_type, repo_id)) if hub.store.exists(repo_type, repo_id) else []
        for repo_type, repo_id in REPOSITORIES
    }


@pytest.fixture(scope="module")
def published(hub, us, after_the_kill) -> dict[str, str]:
    """The commit of each repository, after a second publication that nobody disturbed."""
    done = subprocess.run(PUBLISH, cwd=REPOSITORY, env=us, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {repo_id: hub.store.commits(repo_type, repo_id)[0]["oid"] for repo_type, repo_id in REPOSITORIES}


@pytest.fixture(scope="module")
def stranger(hub, published, tmp_path_factory) -> tuple[Path, Path, dict[str, str]]:
    """Python of a new virtual environment that has what the Space asks for, the downloaded Space, its environment."""
    root = tmp_path_factory.mktemp("stranger")
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_CONFIG_FILE",
    )
    bare = {name: os.environ[name] for name in kept if name in os.environ}
    bare |= environment(hub, None, root / "home") | {"OMP_NUM_THREADS": "1"}
    space = root / "space"
    subprocess.run([sys.executable, "-c", DOWNLOAD, "alice/speech-emotion", str(space)], env=bare, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
    python = root / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(space / "requirements.txt")], env=bare, cwd=root, check=True)
    return python, space, bare


def clips() -> list:
    corpora = os.environ.get("SER_HF_DATA")
    real = Path(corpora or "nowhere", "ravdess", "Actor_05", "03-01-05-02-01-01-05.flac")
    without = pytest.mark.skipif(not real.exists(), reason="needs the real corpora: set SER_HF_DATA=path/to/data")
    return [pytest.param(EXAMPLE, id="synthetic"), pytest.param(real, id="RAVDESS", marks=without)]


def close(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and all(abs(one[name] - other[name]) < 1e-4 for name in one)


def test_a_publication_that_is_killed_leaves_no_half_repository(after_the_kill):
    assert all(set(files) <= {".gitattributes"} for files in after_the_kill.values())


def test_the_second_run_finishes_with_one_commit_each(hub, published):
    for repo_type, repo_id in REPOSITORIES:
        assert len(hub.store.commits(repo_type, repo_id)) == 2  # the first one made the repository
    assert set(hub.store.files("model", "alice/ser-whisper")) >= {"model.safetensors", "config.json", "README.md"}
    assert hub.store.files("model", "alice/ser-whisper-baseline").keys() >= {
        "pipeline.skops",
        "config.json",
        "README.md",
    }


def test_nothing_is_published_that_can_carry_code_or_state(hub, published):
    for repo_type, repo_id in REPOSITORIES:
        names = hub.store.files(repo_type, repo_id)
        assert not [
            name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".pickle", ".npy", ".joblib"))
        ]


def test_a_third_run_sends_nothing_and_commits_nothing(hub, us, published):
    hub.requests.clear()
    done = subprocess.run(PUBLISH, cwd=REPOSITORY, env=us, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing sent") == 3
    assert not [path for method, path in hub.requests if method == "PUT" or "/commit/" in path]
    assert {repo_id: hub.store.commits(kind, repo_id)[0]["oid"] for kind, repo_id in REPOSITORIES} == published


@pytest.mark.parametrize("clip", clips())
def test_the_stock_pipeline_answers_as_our_classifier(stranger, clip, tmp_path):
    python, _, bare = stranger
    command = [str(python), "-c", CLASSIFY, "alice/ser-whisper", str(clip)]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert soundfile.info(clip).duration <= 4
    ours = EmotionClassifier.from_pretrained(REPOSITORY / "models" / "ser-whisper")
    assert close(scores, dict(zip(ours.labels, ours.probabilities([load_audio(clip)])[0].tolist(), strict=True)))


def test_the_downloaded_space_answers_as_our_classifiers(stranger, tmp_path):
    python, space, bare = stranger
    port = free_port()
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(python), "space.py"],
            cwd=space,
            env={**bare, "GRADIO_SERVER_PORT": str(port)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            client = connect(f"http://127.0.0.1:{port}", process, log)
            for clip in [parameters.values[0] for parameters in clips() if parameters.values[0].exists()]:
                answer = client.predict(handle_file(str(clip)), api_name="/analyze")
                for part, folder in (("model", "ser-whisper"), ("baseline", "ser-svm")):
                    ours = EmotionClassifier.from_pretrained(REPOSITORY / "models" / folder).predict(clip)
                    assert answer[part]["label"] == ours.label
                    assert close(answer[part]["scores"], ours.scores)
                    assert answer[part]["name"].startswith("alice/")
        finally:
            process.terminate()
            process.wait(30)


def connect(address: str, process: subprocess.Popen, log: Path) -> Client:
    """A client of the page, as soon as it is there."""
    for _ in range(600):
        try:
            return Client(address, verbose=False)
        except Exception:  # not yet there, in whatever way
            if process.poll() is not None:
                break
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    pytest.fail(f"the Space did not start:\n{log.read_text()}")


def test_the_command_line_takes_a_pinned_model(us, published, tmp_path):
    name = f"alice/ser-whisper@{published['alice/ser-whisper']}"
    command = [sys.executable, "-m", "ser_hf.predict", str(EXAMPLE), "--model", name, "--format", "jsonl"]
    done = subprocess.run(command, cwd=REPOSITORY, env=us, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = EmotionClassifier.from_pretrained(REPOSITORY / "models" / "ser-whisper").predict(EXAMPLE)
    assert close(json.loads(done.stdout)["scores"], ours.scores)
