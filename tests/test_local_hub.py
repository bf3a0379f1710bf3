"""The local Hub: what the product's tests do not show of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.local_hub import check_card, environment, point_client_at

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = ("model", "alice/model")
WEIGHTS = bytes(range(256)) * 100
RESULT = """---
license: mit
model-index:
- name: tiny
  results:
  - task: {type: audio-classification}
    dataset: {type: ravdess, name: RAVDESS}
    metrics: [{type: accuracy%s}]
---
"""


@pytest.fixture
def model(hub) -> str:
    hub.store.create(*MODEL)
    return hub.store.add(*MODEL, {"config.json": b"{}", "model.safetensors": WEIGHTS}).oid


def test_resolve_sends_the_headers_of_the_hub(hub, model):
    for name, size in (("config.json", 2), ("model.safetensors", len(WEIGHTS))):
        found = get_hf_file_metadata(hf_hub_url("alice/model", name))
        (entry,) = [file for file in HfApi().list_repo_tree("alice/model") if file.path == name]
        assert (found.commit_hash, found.size) == (model, size)
        assert found.etag == (entry.lfs.sha256 if entry.lfs else entry.blob_id)
    with pytest.raises(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url("alice/model", "nothing.json"))


def test_git_ids_are_those_of_git(hub, model):
    (entry,) = [file for file in HfApi().list_repo_tree("alice/model") if file.path == "config.json"]
    assert entry.blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object of {}


def test_others_neither_see_nor_change_what_is_not_theirs(hub, model):
    others = [HfApi(token=hub.token("bob")), HfApi(token=False)]
    for api in others:
        with pytest.raises(HfHubHTTPError) as error:
            api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/model")
        assert error.value.response.status_code in (401, 403)
    with pytest.raises(HfHubHTTPError):
        others[0].create_repo("alice/other")
    hub.store.get(*MODEL).gated = True
    with pytest.raises(GatedRepoError):
        others[0].hf_hub_download("alice/model", "config.json")
    hub.store.get(*MODEL).private = True
    for api in others:
        with pytest.raises(RepositoryNotFoundError):
            api.repo_info("alice/model")
    assert "x.txt" not in hub.store.files(*MODEL)


def test_a_token_that_may_only_read_writes_nothing(hub, model):
    with pytest.raises(HfHubHTTPError):
        HfApi(token=hub.token("alice", "read")).upload_file(
            path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/model"
        )


def test_a_pull_request_is_a_branch_of_its_own(hub, model):
    done = HfApi().upload_file(
        path_or_fileobj=WEIGHTS * 2, path_in_repo="more.bin", repo_id="alice/model", create_pr=True
    )
    assert (done.pr_revision, done.pr_num) == ("refs/pr/1", 1)
    assert hub.store.files(*MODEL, "refs/pr/1")["more.bin"] == WEIGHTS * 2
    assert "more.bin" not in hub.store.files(*MODEL)


@pytest.mark.parametrize(
    ("kind", "card", "named"),
    [
        ("model", "---\nlicense: mit\n---\n# Text\n", ""),
        ("model", "---\nlicense: [\n---\n", "metadata"),
        ("model", "---\njust text\n---\n", "metadata"),
        ("dataset", "---\nlicense: apache\n---\n", "license"),
        ("model", RESULT % ", value: 0.5", ""),
        ("model", RESULT % "", "metadata"),
        ("space", "---\ntitle: T\nsdk: gradio\ncolorFrom: blue\npython_version: '3.10'\n---\n", ""),
        ("space", "# No settings\n", "sdk"),
        ("space", "---\ntitle: T\nsdk: gradio\ncolorFrom: lilac\n---\n", "colorFrom"),
        ("space", "---\ntitle: T\nsdk: gradio\npython_version: 3.10\n---\n", "python_version"),
        ("space", f"---\ntitle: T\nsdk: gradio\nshort_description: {'long ' * 20}\n---\n", "short_description"),
    ],
)
def test_check_card_names_what_the_hub_refuses(kind, card, named):
    errors = check_card(card, kind)
    assert bool(errors) == bool(named)
    assert named in " ".join(errors)


def test_point_client_at_is_undone(hub, tmp_path):
    def settings() -> list[object]:
        return [constants.ENDPOINT, constants.HF_HUB_CACHE, HfApi().endpoint, os.environ.get("HF_TOKEN")]

    before = settings()
    with pytest.MonkeyPatch.context() as patch:
        point_client_at(hub, patch, None, tmp_path / "elsewhere")
        assert settings() != before
    assert settings() == before


def test_environment_brings_another_process_to_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code = "from huggingface_hub import HfApi, get_token; print(get_token() and HfApi().whoami()['name'])"
    for token, name in ((hub.token("bob"), "bob"), (None, "None")):
        env = {**os.environ, **environment(hub, token, tmp_path / "client")}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == name


def test_main_serves_until_ctrl_c():
    command = [sys.executable, "-m", "tests.local_hub", "--port", "0"]
    # Who runs the tests in the background hands on a Ctrl+C that is ignored.
    earlier = signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, earlier)
    try:
        line = next(line for line in server.stdout if "export" in line)
        endpoint, token = (re.search(rf"{name}=(\S+)", line)[1] for name in ("HF_ENDPOINT", "HF_TOKEN"))
        asked = urllib.request.Request(f"{endpoint}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
            assert json.load(answer)["name"] == "alice"
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
        assert server.returncode == 0
    finally:
        server.kill()
