"""A local Hub for each test, and who uses it: alice, bob, and a stranger without a token."""

import pytest
from huggingface_hub import HfApi

from tests.hub_server import HubServer, point_client_at
from tests.local_hub.steps import CARD, WEIGHTS, commit


@pytest.fixture
def hub(tmp_path):
    with HubServer(
        tmp_path / "hub",
        users={"alice": "hf_alice", "bob": "hf_bob"},
        organisations={"lab": ["alice"]},
        part_size=1_000_000,
    ) as hub:
        yield hub


@pytest.fixture
def alice(hub, monkeypatch, tmp_path) -> HfApi:
    point_client_at(hub, monkeypatch, hub.token("alice"), tmp_path / "home")
    return HfApi()


@pytest.fixture
def bob(hub, alice) -> HfApi:
    return HfApi(token=hub.token("bob"))


@pytest.fixture
def stranger(alice) -> HfApi:
    return HfApi(token=False)


@pytest.fixture
def model(alice) -> str:
    """A model of alice's with a card, weights and a file in a folder."""
    alice.create_repo("alice/model")
    commit(alice, {"README.md": CARD.encode(), "model.safetensors": WEIGHTS, "plots/note.txt": b"note\n"})
    return "alice/model"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client itself warns of how it sends files, and of tables among the files of a model."""
    for item in items:
        if "local_hub" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"), append=False)
            item.add_marker(
                pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file"), append=False
            )
