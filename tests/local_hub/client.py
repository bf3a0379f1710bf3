"""How clients are brought to talk to a local Hub: those in other processes, and the libraries of this one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from tests.hub_server import HubServer

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def environment(hub: HubServer, token: str | None, home: Path) -> dict[str, str]:
    """Environment variables of a client in another process, to be put over those of this one.

    Args:
        token: None for a client that is not logged in.
        home: a folder for its cache; what lies there is found again.
    """
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_HOME": str(home),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_MODULES_CACHE": str(home / "modules"),
        # Xet is a storage of the real Hub with a protocol of its own.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **dict.fromkeys(PROXIES, ""),
    }


def point_client_at(hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, home: Path) -> None:
    """Let huggingface_hub, transformers and datasets of this process talk to a local Hub until the test ends.

    They read their environment when they are imported, so that what they made of it is replaced. Retries do not wait.

    Args:
        token: None for a client that is not logged in.
        home: a folder for its cache.
    """
    import datasets.config  # before the environment changes, or it would keep this Hub when the test has ended
    import huggingface_hub.file_download
    from huggingface_hub import HfFileSystem, close_session, constants, hf_api
    from huggingface_hub.utils import _http, build_hf_headers

    build_hf_headers()  # asks the Hub for a list once in a process, which is no request of any test
    for name, value in environment(hub, token, home).items():
        monkeypatch.setenv(name, value)
    replaced = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(constants, name, value)
    replaced = {
        "HF_ENDPOINT": hub.endpoint,
        "HUB_DATASETS_URL": hub.endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
        "USE_PARQUET_EXPORT": False,  # asks a second server of the real Hub
        "HF_CACHE_HOME": str(home),
        "HF_DATASETS_CACHE": home / "datasets",
        "DOWNLOADED_DATASETS_PATH": home / "datasets" / "downloads",
        "EXTRACTED_DATASETS_PATH": home / "datasets" / "downloads" / "extracted",
        "HF_MODULES_CACHE": home / "modules",
    }
    for name, value in replaced.items():
        monkeypatch.setattr(datasets.config, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
    monkeypatch.setattr(hf_api.api, "_whoami_cache", {})
    origin = ("http", "127.0.0.1", urlsplit(hub.endpoint).port)
    monkeypatch.setattr(_http, "_HUB_ORIGINS", _http._HUB_ORIGINS | {origin})
    patient = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(_http, "time", patient)
    monkeypatch.setattr(huggingface_hub.file_download, "time", patient)
    monkeypatch.setattr(HfFileSystem, "_cache", {})  # instances remember what they listed
    close_session()  # the client made before kept the proxies of its time
