"""Accounts and repositories as a whole: tokens, namespaces, private and gated ones, a Space's variables."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.hub_server import HubServer
from tests.local_hub.steps import CARD, status


def test_who_one_is_follows_from_the_token(hub, alice):
    account = alice.whoami()
    assert account["name"] == "alice"
    assert [group["name"] for group in account["orgs"]] == ["lab"]
    assert account["auth"]["accessToken"]["role"] == "write"
    assert alice.whoami(hub.read_token("alice"))["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as error:
        alice.whoami("hf_unknown")
    assert status(error) == 401


@pytest.mark.parametrize(("repo_type", "first"), [("model", 1), ("dataset", 1), ("space", 2)])
def test_new_repository_has_the_hubs_first_commit(hub, alice, repo_type, first):
    url = alice.create_repo("alice/new", repo_type=repo_type, space_sdk="gradio" if repo_type == "space" else None)
    assert (url.repo_type, url.repo_id, url.endpoint) == (repo_type, "alice/new", hub.endpoint)
    assert [done["message"] for done in hub.store.commits(repo_type, "alice/new")] == ["initial commit"]
    files = hub.store.files(repo_type, "alice/new")
    assert len(files) == first
    assert b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n" in files[".gitattributes"]
    assert (b"*.png filter=lfs" in files[".gitattributes"]) == (repo_type == "dataset")
    assert b"sdk: gradio" in files.get("README.md", b"sdk: gradio")


def test_repository_is_made_once(alice, model):
    with pytest.raises(HfHubHTTPError) as error:
        alice.create_repo(model)
    assert status(error) == 409
    assert alice.create_repo(model, exist_ok=True).repo_id == model
    assert not alice.repo_info(model).private


def test_repositories_are_made_in_ones_own_namespaces(hub, alice):
    alice.create_repo("lab/thing")
    assert hub.store.exists("model", "lab/thing")
    for api, repo_id in ((alice, "bob/thing"), (HfApi(token=hub.read_token("alice")), "alice/thing")):
        with pytest.raises(HfHubHTTPError) as error:
            api.create_repo(repo_id)
        assert status(error) == 403
        assert not hub.store.exists("model", repo_id)


def test_delete(hub, alice, bob, model):
    with pytest.raises(HfHubHTTPError) as error:
        bob.delete_repo(model)
    assert status(error) == 403
    alice.delete_repo(model)
    assert not hub.store.exists("model", model)
    with pytest.raises(RepositoryNotFoundError):
        alice.delete_repo(model)
    alice.delete_repo(model, missing_ok=True)
    alice.create_repo(model)
    assert len(hub.store.commits("model", model)) == 1


def test_private_repository_is_there_for_its_owner_alone(alice, bob, stranger, model):
    alice.update_repo_settings(model, private=True)
    assert alice.model_info(model).private
    assert [info.id for info in alice.list_models()] == [model]
    for api, expected in ((bob, 404), (stranger, 401)):
        with pytest.raises(RepositoryNotFoundError) as error:
            api.model_info(model)
        assert status(error) == expected
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download(model, "README.md")
        assert list(api.list_models()) == []


def test_unknown_repository_is_not_told_from_a_private_one(alice, stranger):
    with pytest.raises(RepositoryNotFoundError) as error:
        alice.model_info("bob/nothing")
    assert status(error) == 404
    with pytest.raises(RepositoryNotFoundError) as error:
        stranger.model_info("bob/nothing")
    assert status(error) == 401


def test_gated_repository_can_be_seen_but_not_read(hub, alice, bob, stranger, model):
    hub.store.set_gated("model", model)
    assert bob.model_info(model).gated == "manual"
    for api, expected in ((bob, 403), (stranger, 401)):
        with pytest.raises(GatedRepoError) as error:
            api.hf_hub_download(model, "README.md")
        assert status(error) == expected
    assert Path(alice.hf_hub_download(model, "README.md")).read_text() == CARD
    alice.update_repo_settings(model, gated=False)
    assert Path(bob.hf_hub_download(model, "README.md")).read_text() == CARD


def test_variables_and_secrets_of_a_space(alice):
    alice.create_repo("alice/page", repo_type="space", space_sdk="gradio", space_variables=[{"key": "A", "value": "1"}])
    alice.add_space_variable("alice/page", "B", "2", description="two")
    alice.add_space_secret("alice/page", "TOKEN", "hidden")
    variables = alice.get_space_variables("alice/page")
    assert {key: variable.value for key, variable in variables.items()} == {"A": "1", "B": "2"}
    assert alice.delete_space_variable("alice/page", "A").keys() == {"B"}
    assert alice.get_space_secrets("alice/page").keys() == {"TOKEN"}
    alice.delete_space_secret("alice/page", "TOKEN")
    assert not alice.get_space_secrets("alice/page")


def test_repositories_outlive_the_server(hub, alice, model, tmp_path):
    with HubServer(tmp_path / "hub", users={"alice": "hf_alice"}) as again:
        assert again.store.commits("model", model) == hub.store.commits("model", model)
        assert HfApi(endpoint=again.endpoint).list_repo_files(model) == alice.list_repo_files(model)
