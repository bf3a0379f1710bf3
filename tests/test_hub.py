"""Pulling from the Hub and pushing to it, through the real client, against a local one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ser_hf import EmotionClassifier
from ser_hf.hub import (
    BUNDLED_MODELS,
    HubError,
    commit_of,
    log_in,
    looks_like_folder,
    push_folder,
    snapshot,
    split_revision,
)
from ser_hf.models import ModelError
from ser_hf.models.building import create_model
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_whisper

THING = ("model", "alice/thing")


@pytest.fixture
def folder(tmp_path):
    """A folder with a small file and one that goes over LFS."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Nothing\n")
    (folder / "deep" / "numbers.json").write_text("[1, 2, 3]")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    return folder


def put(folder: Path, repo_id: str = "alice/thing") -> str:
    return push_folder(log_in([repo_id]), folder, repo_id, "Put it there").commit


def uploads(hub) -> list[str]:
    return [path for method, path in hub.requests if method == "PUT"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("user/name", ("user/name", None)),
        ("user/name@refs/pr/1", ("user/name", "refs/pr/1")),
        ("user/na.me-1_2@" + "0" * 40, ("user/na.me-1_2", "0" * 40)),
    ],
)
def test_split_revision_splits_name_and_revision(name, parts):
    assert split_revision(name) == parts


@pytest.mark.parametrize("name", ["name", "user/name/more", "user/name@", "@main", "user/na me", "/name", "user/", ""])
def test_split_revision_refuses_other_names(name):
    with pytest.raises(HubError):
        split_revision(name)
    assert looks_like_folder(name)


@pytest.mark.parametrize("name", ["ser-svm", "tiny"])
def test_from_pretrained_pulls_from_the_hub(hub, tmp_path, name):
    folder = BUNDLED_MODELS / name if name == "ser-svm" else save_tiny_whisper(tmp_path / "local")
    clip = make_clip("happy")
    put(folder)
    pulled = EmotionClassifier.from_pretrained("alice/thing")
    assert pulled.name == "alice/thing"
    assert pulled.predict(clip).scores == EmotionClassifier.from_pretrained(folder).predict(clip).scores


def test_from_pretrained_keeps_to_a_pinned_commit(hub, tmp_path):
    clip = make_clip("sad")
    first, second = (put(save_tiny_whisper(tmp_path / str(seed), seed=seed)) for seed in (1, 2))
    scores = {
        name: EmotionClassifier.from_pretrained(f"alice/thing{name}").predict(clip).scores
        for name in ("", "@main", f"@{first}", f"@{second}")
    }
    assert scores[""] == scores["@main"] == scores[f"@{second}"] != scores[f"@{first}"]
    assert scores[f"@{first}"] == EmotionClassifier.from_pretrained(tmp_path / "1").predict(clip).scores


def test_from_pretrained_uses_the_cache_without_the_hub(hub, tmp_path, monkeypatch):
    put(save_tiny_whisper(tmp_path / "tiny"))
    before = EmotionClassifier.from_pretrained("alice/thing").predict(make_clip("calm"))
    hub.stop()
    assert EmotionClassifier.from_pretrained("alice/thing").predict(make_clip("calm")) == before
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert EmotionClassifier.from_pretrained("alice/thing").predict(make_clip("calm")) == before
    with pytest.raises(ModelError, match=r"alice/other.*HF_HUB_OFFLINE"):
        EmotionClassifier.from_pretrained("alice/other")


def test_snapshot_fetches_only_what_matches(hub, tmp_path):
    local = save_tiny_whisper(tmp_path / "tiny")
    (local / "checkpoint-1").mkdir()
    for name in ("checkpoint-1/model.safetensors", "model.fp32.safetensors", "training_args.bin"):
        (local / name).write_bytes(b"0" * 100)
    commit = put(local)
    fetched = snapshot("alice/thing", ("*.json", "model.safetensors"))
    assert commit_of(fetched) == commit
    assert {path.name for path in fetched.rglob("*")} == {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    }


@pytest.mark.parametrize("is_old", [False, True])
def test_create_model_pulls_a_base_model(hub, tmp_path, is_old):
    base = save_tiny_base("wav2vec2", tmp_path / "base")
    if is_old:  # weights in the format of earlier transformers
        torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
        (base / "model.safetensors").unlink()
    commit = put(base)
    model, _ = create_model(f"alice/thing@{commit}", num_layers=1)
    assert (model.config.model_type, model.config.num_hidden_layers) == ("wav2vec2", 1)


def test_snapshot_says_why_it_cannot_read(hub, folder, as_user):
    put(folder)
    thing = hub.store.get(*THING)
    for name, reason in (("alice/gone", "no such repository"), ("alice/thing@v2", "no such revision")):
        with pytest.raises(HubError, match=f"{name}.*{reason}"):
            snapshot(name, ["*"])
    as_user("bob")
    thing.private = True
    with pytest.raises(HubError, match="private"):
        snapshot("alice/thing", ["*"])
    thing.private, thing.gated = False, True
    with pytest.raises(HubError, match="gated"):
        snapshot("alice/thing", ["*"])


def test_log_in_refuses_wrong_tokens(hub, as_user):
    for token, reason in (("hf_wrong_write", "does not know"), (hub.token("alice", "read"), "may only read")):
        with pytest.raises(HubError, match=reason):
            log_in(["alice/thing"], token=token)
    as_user(None)
    with pytest.raises(HubError, match=r"hf auth login.*HF_TOKEN"):
        log_in(["alice/thing"])


def test_log_in_refuses_names_of_others(hub):
    log_in(["alice/thing", "lab/thing"])  # an organisation of alice's
    with pytest.raises(HubError, match=r"bob/thing.*--create_pr"):
        log_in(["alice/thing", "bob/thing"])
    log_in(["bob/thing"], create_pr=True)


@pytest.mark.parametrize("name", ["thing", "alice/thing/more", "alice/thing@main", ""])
def test_log_in_refuses_what_is_no_repository(hub, name):
    with pytest.raises(HubError, match="USER/NAME"):
        log_in([name])
    assert not hub.requests


def test_log_in_says_that_the_hub_cannot_be_reached(hub):
    hub.stop()
    with pytest.raises(HubError, match=f"{hub.endpoint} cannot be reached"):
        log_in(["alice/thing"])


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_push_folder_makes_one_commit_of_the_folder(hub, folder, repo_type):
    if repo_type == "space":
        (folder / "README.md").write_text("---\ntitle: T\nsdk: gradio\n---\n")
    pushed = push_folder(log_in(["alice/thing"]), folder, "alice/thing", "Put it there", repo_type)
    commits = hub.store.commits(repo_type, "alice/thing")
    assert [commit["message"] for commit in commits[:-1]] == ["Put it there"]  # the last one made the repository
    assert (pushed.commit, pushed.is_new) == (commits[0]["oid"], True)
    assert pushed.url == f"{hub.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}alice/thing"
    files = hub.store.files(repo_type, "alice/thing")
    del files[".gitattributes"]
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert files == {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_push_folder_makes_no_commit_of_the_same_files(hub, folder):
    api = log_in(["alice/thing"])
    first = push_folder(api, folder, "alice/thing", "One")
    hub.requests.clear()
    second = push_folder(api, folder, "alice/thing", "Two", replaced=["*"])
    assert (second.commit, second.is_new) == (first.commit, False)
    assert len(hub.store.commits(*THING)) == 2
    assert not uploads(hub)


def test_push_folder_deletes_only_what_is_replaced(hub, folder):
    hub.store.create(*THING)
    hub.store.add(*THING, {"deep/old.json": b"{}", "notes.txt": b"mine"})
    push_folder(log_in(["alice/thing"]), folder, "alice/thing", "Two", replaced=["deep/*"])
    files = hub.store.files(*THING)
    assert "deep/old.json" not in files
    assert {"notes.txt", "deep/numbers.json"} <= files.keys()


def test_push_folder_keeps_private_files_private(hub, folder, as_user):
    api = log_in(["alice/thing"])
    for message in ("One", "Two"):
        push_folder(api, folder, "alice/thing", message, private=True)
    assert hub.store.get(*THING).private
    hub.store.get(*THING).private = False
    with pytest.raises(HubError, match="--private"):
        push_folder(api, folder, "alice/thing", "Three", private=True)


@pytest.mark.parametrize("breaks", ["upload", "commit"])
def test_push_folder_resumes_after_a_failure(hub, folder, breaks):
    api = log_in(["alice/thing"])
    if breaks == "upload":
        hub.break_uploads(after_bytes=10_000)
    else:
        hub.refuse("/commit/", 500)
    with pytest.raises(HubError, match="nothing was committed to the model alice/thing"):
        push_folder(api, folder, "alice/thing", "One")
    assert list(hub.store.files(*THING)) == [".gitattributes"]
    hub.mend()
    hub.requests.clear()
    assert push_folder(api, folder, "alice/thing", "One").is_new
    assert len(hub.store.commits(*THING)) == 2
    assert bool(uploads(hub)) == (breaks == "upload")  # what has arrived is not sent again


def test_push_folder_never_overwrites_a_commit_made_meanwhile(hub, folder, monkeypatch):
    api = log_in(["alice/thing"])
    read = api.repo_info

    def read_and_change(*arguments, **options):
        info = read(*arguments, **options)
        hub.store.add(*THING, {"notes.txt": b"meanwhile"})
        return info

    monkeypatch.setattr(api, "repo_info", read_and_change)
    with pytest.raises(HubError, match="somebody else changed it"):
        push_folder(api, folder, "alice/thing", "One")


def test_push_folder_keeps_to_one_pull_request(hub, folder, as_user):
    put(folder)
    as_user("bob")
    api, pushed = log_in(["alice/thing"], create_pr=True), []
    for text in ("better", "better", "best"):
        (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# {text}\n")
        pushed.append(push_folder(api, folder, "alice/thing", "A title", create_pr=True))
    assert [one.is_new for one in pushed] == [True, False, True]
    assert {one.url for one in pushed} == {f"{hub.endpoint}/alice/thing/discussions/1"}
    assert b"Nothing" in hub.store.files(*THING)["README.md"]
    assert b"best" in hub.store.files(*THING, "refs/pr/1")["README.md"]


def test_push_folder_checks_the_card_first(hub, folder):
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(HubError, match="nothing was committed"):
        push_folder(log_in(["alice/thing"]), folder, "alice/thing", "One")
    assert not uploads(hub)
