"""The Hugging Face Hub: what is fetched from it."""

from __future__ import annotations

import re
from pathlib import Path

from ser_hf.models import ModelError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def looks_like_folder(model: str) -> bool:
    """Whether a name that is no folder here was meant as one, so that no typing error becomes a request to the Hub."""
    if not HUB_ID.fullmatch(model):
        return True
    first = model.split("/")[0]
    return first in ("models", "runs") or Path(first).exists()


def fetch(hub_id: str, file: str) -> Path:
    """Download one file of a Hub model, or find it in the local cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, file))
    except RepositoryNotFoundError:
        reason = "the Hub has no such model, or it is private and you are not logged in"
    except LocalEntryNotFoundError:
        reason = "it is not in the local cache, and the Hub cannot be reached (or HF_HUB_OFFLINE is set)"
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
    raise ModelError(f"cannot get {file} of the model {hub_id!r} from the Hub: {reason}")
