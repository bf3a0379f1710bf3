"""Pull requests and discussions."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.local_hub.steps import WEIGHTS, commit, status


def test_others_may_read_and_propose_but_not_write(hub, bob, model):
    for api in (bob, HfApi(token=hub.read_token("alice"))):
        with pytest.raises(HfHubHTTPError) as error:
            commit(api, {"x.bin": WEIGHTS})
        assert status(error) == 403
    proposed = commit(bob, {"x.bin": WEIGHTS}, create_pr=True)
    assert proposed.pr_revision == "refs/pr/1"
    assert "x.bin" not in hub.store.files("model", model)
    assert hub.store.files("model", model, "refs/pr/1")["x.bin"] == WEIGHTS


def test_pull_request_grows_and_is_merged(hub, alice, bob, model):
    commit(bob, {"a.txt": b"a"}, create_pr=True)
    commit(bob, {"b.txt": b"b"}, revision="refs/pr/1")
    commit(alice, {"c.txt": b"c", "plots/note.txt": b"changed meanwhile\n"})
    alice.merge_pull_request(model, 1, comment="Thanks")
    files = hub.store.files("model", model)
    assert (files["a.txt"], files["b.txt"], files["c.txt"]) == (b"a", b"b", b"c")
    assert files["plots/note.txt"] == b"changed meanwhile\n"
    details = alice.get_discussion_details(model, 1)
    assert (details.status, details.author, details.target_branch) == ("merged", "bob", "refs/heads/main")
    assert details.merge_commit_oid == hub.store.commits("model", model)[0]["oid"]
    assert [event.type for event in details.events] == ["comment", "commit", "commit", "comment", "status-change"]


def test_pull_request_from_a_parent_commit(hub, alice, model):
    old = hub.store.commits("model", model)[1]["oid"]
    commit(alice, {"a.txt": b"a"}, create_pr=True, parent_commit=old)
    assert hub.store.commits("model", model, "refs/pr/1")[1]["oid"] == old


def test_conflicting_pull_request_is_not_merged(hub, alice, bob, model):
    commit(bob, {"a.txt": b"of bob"}, create_pr=True)
    commit(alice, {"a.txt": b"of alice"})
    assert alice.get_discussion_details(model, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"conflicts in a\.txt"):
        alice.merge_pull_request(model, 1)
    assert hub.store.files("model", model)["a.txt"] == b"of alice"


def test_discussions_are_listed_by_kind_state_and_author(alice, bob, model):
    for number in range(11):
        bob.create_discussion(model, f"Question {number}")
    commit(alice, {"a.txt": b"a"}, create_pr=True)
    alice.change_discussion_status(model, 3, "closed", comment="Answered")
    alice.rename_discussion(model, 1, "First question")

    def numbers(**options) -> list[int]:
        return [found.num for found in alice.get_repo_discussions(model, **options)]

    assert numbers() == list(range(12, 0, -1))
    assert numbers(discussion_type="pull_request") == [12]
    assert numbers(discussion_status="closed") == [3]
    assert numbers(author="alice", discussion_status="open") == [12]
    assert alice.get_discussion_details(model, 1).title == "First question"
    assert bob.comment_discussion(model, 1, "Thanks").content == "Thanks"
    with pytest.raises(HfHubHTTPError) as error:
        bob.change_discussion_status(model, 12, "closed")
    assert status(error) == 403
