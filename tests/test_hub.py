"""Pulling from the Hub and pushing to it, through the real client, against a local one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_hf import EmotionClassifier
from ser_hf.hub import HubError, commit_of, log_in, looks_like_folder, push_folder, snapshot, split_revision
from ser_hf.models import ModelError
from ser_hf.models.building import create_model
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_svm, save_tiny_whisper


@pytest.fixture
def folder(tmp_path):
    """A folder with a small file and one that goes over LFS."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Nothing\n")
    (folder / "deep" / "numbers.json").write_text("[1, 2, 3]")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    return folder


def put(hub, folder: Path, repo_id: str = "alice/thing", **options) -> str:
    return push_folder(log_in([repo_id], **options), folder, repo_id, "Put it there").commit


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("user/name", ("user/name", None)),
        ("user/name@main", ("user/name", "main")),
        ("user/name@refs/pr/1", ("user/name", "refs/pr/1")),
        ("user/na.me-1_2@" + "0" * 40, ("user/na.me-1_2", "0" * 40)),
    ],
)
def test_a_name_may_have_a_revision(name, parts):
    assert split_revision(name) == parts


@pytest.mark.parametrize("name", ["name", "user/name/more", "user/name@", "@main", "user/na me", "/name", "user/", ""])
def test_what_is_no_name_is_said(name):
    with pytest.raises(HubError, match="no name on the Hub"):
        split_revision(name)
    assert looks_like_folder(name)


class TestPull:
    def test_a_model_of_either_kind_answers_as_its_folder_does(self, hub, tmp_path):
        for save in (save_tiny_whisper, save_tiny_svm):
            local = save(tmp_path / save.__name__)
            put(hub, local, f"alice/{save.__name__}")
            clip = make_clip("happy")
            pulled = EmotionClassifier.from_pretrained(f"alice/{save.__name__}")
            assert pulled.name == f"alice/{save.__name__}"
            assert pulled.predict(clip).scores == EmotionClassifier.from_pretrained(local).predict(clip).scores

    def test_a_pinned_revision_stays_what_it_was(self, hub, tmp_path):
        first = put(hub, save_tiny_whisper(tmp_path / "a", seed=1), "alice/tiny")
        second = put(hub, save_tiny_whisper(tmp_path / "b", seed=2), "alice/tiny")
        clip = make_clip("sad")
        scores = {
            name: EmotionClassifier.from_pretrained(f"alice/tiny{name}").predict(clip).scores
            for name in ("", "@main", f"@{first}", f"@{second}")
        }
        assert scores[""] == scores["@main"] == scores[f"@{second}"] != scores[f"@{first}"]
        assert scores[f"@{first}"] == EmotionClassifier.from_pretrained(tmp_path / "a").predict(clip).scores

    def test_only_what_a_model_needs_is_fetched(self, hub, tmp_path):
        local = save_tiny_whisper(tmp_path / "tiny")
        (local / "checkpoint-1").mkdir()
        (local / "checkpoint-1" / "model.safetensors").write_bytes(b"0" * 100)
        (local / "model.fp32.safetensors").write_bytes(b"0" * 100)
        (local / "training_args.bin").write_bytes(b"0" * 100)
        put(hub, local, "alice/tiny")
        names = {path.name for path in snapshot("alice/tiny", ("*.json", "model.safetensors")).rglob("*")}
        EmotionClassifier.from_pretrained("alice/tiny")
        assert names == {"config.json", "preprocessor_config.json", "model.safetensors"}

    def test_a_base_model_of_the_hub_is_fine_tuned(self, hub, tmp_path):
        commit = put(hub, save_tiny_base("whisper", tmp_path / "base"), "alice/base")
        model, _ = create_model(f"alice/base@{commit}", num_layers=1, window=4)
        assert model.config.num_hidden_layers == 1
        assert commit_of(snapshot("alice/base", ["config.json"])) == commit

    def test_a_base_model_in_the_old_format_is_fetched_too(self, hub, tmp_path):
        import torch
        from safetensors.torch import load_file

        base = save_tiny_base("wav2vec2", tmp_path / "base")
        torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
        (base / "model.safetensors").unlink()
        put(hub, base, "alice/old")
        model, _ = create_model("alice/old")
        assert model.config.model_type == "wav2vec2"

    def test_what_was_fetched_is_there_without_the_hub(self, hub, tmp_path, monkeypatch):
        put(hub, save_tiny_whisper(tmp_path / "tiny"), "alice/tiny")
        before = EmotionClassifier.from_pretrained("alice/tiny").predict(make_clip("calm"))
        hub.__exit__(None, None, None)
        assert EmotionClassifier.from_pretrained("alice/tiny").predict(make_clip("calm")) == before
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert EmotionClassifier.from_pretrained("alice/tiny").predict(make_clip("calm")) == before
        with pytest.raises(ModelError, match=r"alice/other.*not \(whole\) in the local cache.*HF_HUB_OFFLINE"):
            EmotionClassifier.from_pretrained("alice/other")

    def test_what_is_gone_private_or_gated_is_said(self, hub, folder, as_user):
        put(hub, folder)
        with pytest.raises(HubError, match=r"model 'alice/gone'.*no such repository, or it is private"):
            snapshot("alice/gone", ["*"])
        with pytest.raises(HubError, match=r"alice/thing@v2.*no such revision"):
            snapshot("alice/thing@v2", ["*"])
        hub.store.set_private("model", "alice/thing")
        as_user("bob")
        with pytest.raises(HubError, match="or it is private"):
            snapshot("alice/thing", ["*"])
        hub.store.set_private("model", "alice/thing", False)
        hub.store.set_gated("model", "alice/thing")
        with pytest.raises(HubError, match="gated: ask for access on its page"):
            snapshot("alice/thing", ["*"])

    def test_a_repository_that_holds_no_model_is_said(self, hub, folder):
        put(hub, folder)
        with pytest.raises(ModelError, match=r"alice/thing.*config\.json"):
            EmotionClassifier.from_pretrained("alice/thing")


class TestLogIn:
    def test_no_token(self, hub, as_user):
        as_user(None)
        with pytest.raises(HubError, match=r"not logged in.*hf auth login.*HF_TOKEN"):
            log_in(["alice/thing"])

    def test_a_wrong_token(self, hub):
        with pytest.raises(HubError, match="does not know your token"):
            log_in(["alice/thing"], token="hf_wrong")

    def test_a_token_that_may_only_read(self, hub):
        with pytest.raises(HubError, match="alice may only read"):
            log_in(["alice/thing"], token=hub.read_token("alice"))

    def test_a_name_that_is_not_ours(self, hub):
        with pytest.raises(HubError, match=r"bob/thing is not yours: you are alice.*--create_pr"):
            log_in(["alice/thing", "bob/thing"])
        log_in(["bob/thing"], create_pr=True)

    def test_a_hub_that_is_not_there(self, hub):
        hub.__exit__(None, None, None)
        with pytest.raises(HubError, match="cannot be reached"):
            log_in(["alice/thing"])

    @pytest.mark.parametrize("name", ["thing", "alice/thing/more", "alice/thing@main", ""])
    def test_what_is_no_repository_is_said(self, hub, name):
        with pytest.raises(HubError, match="no name of a repository"):
            log_in([name])


class TestPush:
    @pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
    def test_one_commit_makes_the_repository_hold_the_folder(self, hub, folder, repo_type):
        if repo_type == "space":
            (folder / "README.md").write_text("---\ntitle: T\nsdk: gradio\nemoji: 🎙\n---\n")
        pushed = push_folder(log_in(["alice/thing"]), folder, "alice/thing", "Put it there", repo_type)
        commits = hub.store.commits(repo_type, "alice/thing")
        assert [commit["message"] for commit in commits[:-1]] == ["Put it there"]  # the last made the repository
        assert (pushed.commit, pushed.is_new) == (commits[0]["oid"], True)
        assert pushed.url == f"{hub.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}alice/thing"
        files = hub.store.files(repo_type, "alice/thing")
        del files[".gitattributes"]
        assert files == {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    def test_the_same_files_make_no_second_commit(self, hub, folder):
        api = log_in(["alice/thing"])
        first = push_folder(api, folder, "alice/thing", "One")
        sent = len([request for request in hub.requests if request[0] == "PUT"])
        second = push_folder(api, folder, "alice/thing", "Two", replaced=["*"])
        assert (second.commit, second.is_new) == (first.commit, False)
        assert len(hub.store.commits("model", "alice/thing")) == 2
        assert len([request for request in hub.requests if request[0] == "PUT"]) == sent

    def test_what_is_replaced_goes_and_what_is_not_stays(self, hub, folder):
        api = log_in(["alice/thing"])
        (folder / "deep" / "old.json").write_text("{}")
        (folder / "notes.txt").write_text("mine")
        push_folder(api, folder, "alice/thing", "One")
        (folder / "deep" / "old.json").unlink()
        (folder / "notes.txt").unlink()
        push_folder(api, folder, "alice/thing", "Two", replaced=["deep/*"])
        files = hub.store.files("model", "alice/thing")
        assert "deep/old.json" not in files
        assert {"notes.txt", "deep/numbers.json"} <= set(files)

    def test_private_is_private_from_the_start_and_never_goes_to_a_public_place(self, hub, folder, as_user):
        api = log_in(["alice/thing"])
        push_folder(api, folder, "alice/thing", "One", private=True)
        push_folder(api, folder, "alice/thing", "Two", private=True)
        as_user("bob")
        with pytest.raises(HubError, match="private"):
            snapshot("alice/thing", ["*"])
        hub.store.set_private("model", "alice/thing", False)
        with pytest.raises(HubError, match=r"already and public.*--private"):
            push_folder(api, folder, "alice/thing", "Three", private=True)

    def test_a_connection_that_breaks_leaves_nothing_half_and_the_second_run_finishes(self, hub, folder):
        api = log_in(["alice/thing"])
        hub.break_uploads(after_bytes=10_000)
        with pytest.raises(HubError, match=r"nothing was committed to the model alice/thing.*same command again"):
            push_folder(api, folder, "alice/thing", "One")
        assert list(hub.store.files("model", "alice/thing")) == [".gitattributes"]
        hub.mend()
        assert push_folder(api, folder, "alice/thing", "One").is_new
        assert len(hub.store.commits("model", "alice/thing")) == 2

    def test_a_commit_that_fails_leaves_the_large_files_that_arrived(self, hub, folder):
        api = log_in(["alice/thing"])
        hub.refuse("/commit/", 500)
        with pytest.raises(HubError, match="nothing was committed"):
            push_folder(api, folder, "alice/thing", "One")
        hub.mend()
        hub.requests.clear()
        push_folder(api, folder, "alice/thing", "One")
        assert not [request for request in hub.requests if request[0] == "PUT"]

    def test_a_proposal_changes_nothing_and_is_not_made_twice(self, hub, folder, as_user):
        put(hub, folder)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# Something\n")
        as_user("bob")
        api = log_in(["alice/thing"], create_pr=True)
        proposed = push_folder(api, folder, "alice/thing", "Better words", create_pr=True)
        assert proposed.is_new
        assert proposed.url == f"{hub.endpoint}/alice/thing/discussions/1"
        assert b"Nothing" in hub.store.files("model", "alice/thing")["README.md"]
        again = push_folder(api, folder, "alice/thing", "Better words", create_pr=True)
        assert again == type(again)(proposed.url, proposed.commit, is_new=False)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# Something else\n")
        other = push_folder(api, folder, "alice/thing", "Other words", create_pr=True)
        assert other.url.endswith("/2")

    def test_a_card_that_the_hub_does_not_take_is_refused_before_anything_large_is_sent(self, hub, folder):
        (folder / "README.md").write_text("---\nlicense: [\n---\n")
        with pytest.raises(HubError, match="nothing was committed"):
            push_folder(log_in(["alice/thing"]), folder, "alice/thing", "One")
        assert not [request for request in hub.requests if request[0] == "PUT"]
