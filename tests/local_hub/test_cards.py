"""Cards that the Hub refuses, warns of, or takes without a word."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError

from tests.hub_server import HubServer, point_client_at
from tests.local_hub.steps import CARD, commit


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory):
    """A server for tests that change nothing on it."""
    with HubServer(tmp_path_factory.mktemp("shared"), users={"alice": "hf_alice"}) as hub:
        yield hub


@pytest.fixture
def checker(shared_hub, monkeypatch, tmp_path) -> HfApi:
    point_client_at(shared_hub, monkeypatch, shared_hub.token("alice"), tmp_path / "home")
    return HfApi()


@pytest.mark.parametrize(
    ("repo_type", "card", "words"),
    [
        ("model", "license: fancy", '"license" must be one of'),
        ("model", "license: [", "YAML"),
        ("model", "license: mit\nlicense: mit", "duplicated mapping key 'license'"),
        ("model", "- a list", "must be a mapping"),
        ("model", "base_model: /home/me/model", '"base_model" with value'),
        ("model", "model-index:\n- results: []", r'"model-index\[0\].name" is required'),
        (
            "model",
            "model-index:\n- name: x\n  results:\n  - task: {type: t}\n    metrics: [{value: 1}]",
            r'"model-index\[0\].results\[0\].metrics\[0\].type" is required',
        ),
        ("dataset", "size_categories: huge", '"size_categories" must be one of'),
        ("dataset", "configs:\n- data_files: x", r'"configs\[0\].config_name" is required'),
        ("space", "title: x", '"sdk" is required'),
        ("space", "title: x\nsdk: flask", '"sdk" must be one of'),
        ("space", "title: x\nsdk: gradio\ncolorFrom: orange", '"colorFrom" must be one of'),
        ("space", f"title: x\nsdk: gradio\nshort_description: {'x' * 61}", "less than or equal to 60 characters"),
    ],
)
def test_card_that_the_hub_would_refuse(checker, repo_type, card, words):
    with pytest.raises(ValueError, match=words):
        checker._validate_yaml(f"---\n{card}\n---\n", repo_type=repo_type)


@pytest.mark.filterwarnings("error")
def test_good_cards_are_taken_without_a_word(checker):
    checker._validate_yaml(CARD, repo_type="model")
    checker._validate_yaml("---\nconfigs:\n- config_name: a\n  data_files: b\n---\n", repo_type="dataset")
    checker._validate_yaml(f"---\ntitle: x\nsdk: gradio\nshort_description: {'x' * 60}\n---\n", repo_type="space")


@pytest.mark.parametrize(
    ("card", "words"),
    [("no metadata", "empty or missing"), ("---\npipeline_tag: x\n---\n", "not in the official list")],
)
def test_odd_card_is_warned_of(checker, card, words):
    with pytest.warns(UserWarning, match=words):
        checker._validate_yaml(card, repo_type="model")


def test_commit_with_a_bad_card_is_refused_even_unchecked(hub, alice, model, monkeypatch):
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *args, **kwargs: None)
    with pytest.raises(BadRequestError, match="Invalid metadata"):
        commit(alice, {"README.md": b"---\nlicense: fancy\n---\n"})
    assert hub.store.files("model", model)["README.md"] == CARD.encode()
