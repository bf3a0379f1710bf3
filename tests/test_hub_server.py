"""The local Hub with what uses it: other processes, datasets, transformers, a person; and what can go wrong."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx2
import pandas as pd
import pytest
import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import HubServer, environment, point_client_at
from tests.tiny_models import save_tiny_whisper

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed
UPLOAD = """
import sys
from huggingface_hub import HfApi
HfApi().create_repo("alice/model", exist_ok=True)
print(HfApi().upload_file(path_or_fileobj=sys.argv[1], path_in_repo="weights.bin", repo_id="alice/model").oid)
"""


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub", users={"alice": "hf_alice"}) as hub:
        yield hub


@pytest.fixture
def alice(hub, monkeypatch, tmp_path) -> HfApi:
    point_client_at(hub, monkeypatch, hub.token("alice"), tmp_path / "home")
    api = HfApi()
    api.create_repo("alice/model")
    return api


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    return path


def start(code: str, *arguments: object, env: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)


def test_client_in_another_process(hub, weights, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with start(UPLOAD, weights, env=environment(hub, hub.token("alice"), tmp_path / "home")) as client:
        answer, _ = client.communicate(timeout=PATIENCE_SECONDS)
    assert client.returncode == 0
    assert answer.strip() == hub.store.commits("model", "alice/model")[0]["oid"]
    assert hub.store.files("model", "alice/model")["weights.bin"] == weights.read_bytes()


def test_client_without_a_token_is_a_stranger(hub, tmp_path):
    code = "from huggingface_hub import get_token; print(get_token())"
    with start(code, env=environment(hub, None, tmp_path / "home")) as client:
        assert client.communicate(timeout=PATIENCE_SECONDS)[0].strip() == "None"


def test_killed_client_commits_nothing_and_the_next_one_finishes(tmp_path, weights):
    with HubServer(tmp_path / "hub", users={"alice": "hf_alice"}) as hub:
        env = environment(hub, hub.token("alice"), tmp_path / "home")
        hub.hold_uploads()
        with start(UPLOAD, weights, env=env) as client:
            assert hub.upload_started.wait(PATIENCE_SECONDS)
            client.kill()
        assert len(hub.store.commits("model", "alice/model")) == 1
        hub.mend()
        with start(UPLOAD, weights, env=env) as client:
            client.communicate(timeout=PATIENCE_SECONDS)
        assert client.returncode == 0
        assert hub.store.files("model", "alice/model")["weights.bin"] == weights.read_bytes()
    assert not list((tmp_path / "hub" / "models" / "alice" / "model" / "incoming").iterdir())


def test_broken_upload_is_tried_again_and_then_given_up(hub, alice, weights):
    hub.break_uploads(after_bytes=1000)
    with pytest.raises(RuntimeError, match=r"weights\.bin") as error:
        alice.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id="alice/model")
    assert isinstance(error.value.__cause__, httpx2.TransportError)
    assert len([path for method, path in hub.requests if method == "PUT"]) == 6
    assert len(hub.store.commits("model", "alice/model")) == 1
    hub.mend()
    alice.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id="alice/model")
    assert hub.store.files("model", "alice/model")["weights.bin"] == weights.read_bytes()


def test_what_arrived_before_a_refused_commit_is_not_sent_again(hub, alice, weights):
    hub.refuse("/commit/main$", 503)
    with pytest.raises(HfHubHTTPError) as error:
        alice.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id="alice/model")
    assert error.value.response.status_code == 503
    hub.mend()
    alice.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id="alice/model")
    assert len([path for method, path in hub.requests if method == "PUT"]) == 1
    assert hub.store.files("model", "alice/model")["weights.bin"] == weights.read_bytes()


def test_client_of_this_process_is_given_back(hub, tmp_path):
    import datasets.config

    def settings() -> tuple[object, ...]:
        hub_settings = (constants.ENDPOINT, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE, HfApi().endpoint)
        return (*hub_settings, datasets.config.HF_ENDPOINT, os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))

    before = settings()
    with pytest.MonkeyPatch.context() as patch:
        point_client_at(hub, patch, None, tmp_path / "home")
        assert constants.ENDPOINT == HfApi().endpoint == datasets.config.HF_ENDPOINT == hub.endpoint
    assert settings() == before


def test_dataset_is_loaded_at_a_revision(hub, alice, tmp_path):
    from datasets import load_dataset

    card = "---\nconfigs:\n- config_name: clips\n  data_files: data/*.parquet\n---\n"
    alice.create_repo("alice/data", repo_type="dataset")
    folder = tmp_path / "data"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(card)
    commits = []
    for rows in (3, 5):
        pd.DataFrame({"clip": [f"clip-{row}" for row in range(rows)]}).to_parquet(folder / "data" / "clips.parquet")
        commits.append(alice.upload_folder(repo_id="alice/data", repo_type="dataset", folder_path=folder).oid)
    assert load_dataset("alice/data", "clips", split="train").num_rows == 5
    assert load_dataset("alice/data", split="train", revision=commits[0])["clip"][:] == ["clip-0", "clip-1", "clip-2"]
    assert hub.store.files("dataset", "alice/data").keys() == {".gitattributes", "README.md", "data/clips.parquet"}


def test_model_is_loaded_at_a_revision(alice, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    commits, weights = [], []
    for seed in (1, 2):
        folder = save_tiny_whisper(tmp_path / str(seed), seed)
        commits.append(alice.upload_folder(repo_id="alice/model", folder_path=folder).oid)
        weights.append(AutoModelForAudioClassification.from_pretrained(folder).classifier.weight)
    for revision, expected in ((commits[0], weights[0]), ("main", weights[1])):
        found = AutoModelForAudioClassification.from_pretrained("alice/model", revision=revision)
        assert torch.equal(found.classifier.weight, expected)
    assert AutoFeatureExtractor.from_pretrained("alice/model").chunk_length == 5


def test_hub_by_hand(tmp_path):
    """It says how to reach it, shows what was published, takes a large file in little memory, and ends with Ctrl+C."""
    command = [sys.executable, "-u", "-m", "tests.hub_server", "--root", str(tmp_path / "hub"), "--port", "0"]
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(120_000_000)
    # Who runs the tests in the background hands on a Ctrl+C that is ignored.
    earlier = signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, earlier)
    with server:
        try:
            said, env = [], {}
            while "NO_PROXY" not in env:
                said.append(server.stdout.readline())
                assert said[-1], said
                env |= dict(re.findall(r"export (\w+)=(.*)", said[-1]))
            assert any("hf_alice" in line and "hf_alice_read" in line for line in said)
            assert "none" in _page(env["HF_ENDPOINT"])
            before = _peak_memory(server.pid)
            with start(UPLOAD, large, env={"HF_HUB_OFFLINE": "0", **env}) as client:
                client.communicate(timeout=PATIENCE_SECONDS)
            assert _peak_memory(server.pid) - before < 60_000_000
            assert "alice/model" in _page(env["HF_ENDPOINT"])
            page = _page(f"{env['HF_ENDPOINT']}/alice/model")
            assert "weights.bin" in page
            assert "120,000,000 bytes" in page
            assert "Upload weights.bin with huggingface_hub" in page
            server.send_signal(signal.SIGINT)
            assert "Ended." in server.communicate(timeout=PATIENCE_SECONDS)[0]
            assert server.returncode == 0
        finally:
            server.kill()


def _page(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE_SECONDS) as answer:
        return answer.read().decode()


def _peak_memory(pid: int) -> int:
    """Bytes, or 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found.group(1)) * 1024 if found else 0
