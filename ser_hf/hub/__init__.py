"""The Hugging Face Hub: what is there is pulled into the local cache, what was made is pushed in one commit.

The client's own settings count: ``HF_TOKEN`` or ``hf auth login`` for the token, ``HF_HOME`` for the cache,
``HF_ENDPOINT`` for another Hub, and ``HF_HUB_OFFLINE=1`` to keep to what was fetched before.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_hf.errors import SerHfError
from ser_hf.utils.names import nearest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# In the repository they lie beside the library; in an installed package, within it.
_LIBRARY = Path(__file__).resolve().parents[1]
BUNDLED_MODELS = _LIBRARY / "bundled" if (_LIBRARY / "bundled").is_dir() else _LIBRARY.parent / "models"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_ID = re.compile(rf"{REPO_ID.pattern}(@[\w./-]+)?")
# One form of the weights: repositories hold others beside it, for other programs or of other precision.
MODEL_FILES = ("*.json", "*.skops", "model.safetensors", "model-*-of-*.safetensors", "familiarity.safetensors")
ONNX_FILES = ("*.json", "*.skops", "model.onnx", "onnx/model.onnx", "familiarity.safetensors")
OLD_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")


class HubError(SerHfError):
    """What cannot be pulled from the Hub or pushed to it; the message says why and what to do."""


def split_revision(hub_id: str) -> tuple[str, str | None]:
    """Split ``user/name@revision`` into the repository and its branch, tag or commit (None without one).

    Raises:
        HubError: it is no such name.
    """
    if not HUB_ID.fullmatch(hub_id):
        raise HubError(f"{hub_id!r} is no name on the Hub; write user/name, or user/name@revision")
    repo_id, _, revision = hub_id.partition("@")
    return repo_id, revision or None


def looks_like_folder(model: str) -> bool:
    """Whether a name of no existing folder was meant as one, so that a typo does not become a request to the Hub."""
    if not HUB_ID.fullmatch(model):
        return True
    first = model.split("/")[0]
    return first in ("models", "runs") or Path(first).exists()


def bundled_models() -> list[str]:
    """The names of the models that come with the library."""
    return sorted(path.parent.name for path in BUNDLED_MODELS.glob("*/config.json"))


def model_folder(model: str | Path, onnx: bool = False) -> Path:
    """The folder of a model: the one that is named, or that of a Hub id (``user/name[@revision]``) in the local cache.

    Args:
        model: folder, Hub id, or name of a bundled model, such as ``ser-svm``, where no folder of that name lies.
        onnx: fetch the network as ONNX and not its safetensors.

    Raises:
        HubError: there is neither, or it cannot be fetched.
    """
    folder = Path(model).expanduser()
    if folder.exists():
        return folder
    if model in bundled_models():
        return BUNDLED_MODELS / model
    if isinstance(model, Path) or looks_like_folder(model):
        beside = [str(path) for path in folder.parent.glob("*/") if not path.name.startswith(".")]
        near = nearest(str(folder), beside) or nearest(folder.name, bundled_models())
        hint = f"; did you mean {near!r}?" if near else "."
        raise HubError(
            f"there is no model folder {str(model)!r}{hint} Name a folder that holds a config.json, or a model of the "
            "Hub as user/name or user/name@revision."
        )
    return snapshot(model, ONNX_FILES if onnx else MODEL_FILES)


def trained_on(model: str | Path) -> list[str] | None:
    """The corpora that a model was trained on, by its config.json; None where that does not say.

    Earlier models hold them as ``learned_from`` or ``corpora`` instead of ``trained_on``.

    Args:
        model: see `model_folder`.

    Raises:
        HubError: see `model_folder`.
    """
    path = model_folder(model) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = next((config[key] for key in ("trained_on", "learned_from", "corpora") if config.get(key)), None)
    if isinstance(names, str):
        return names.replace(",", " ").split()
    return names if isinstance(names, list) else None


def snapshot(hub_id: str, patterns: Sequence[str], repo_type: str = "model") -> Path:
    """Download files of one commit of a repository, or find them in the local cache.

    Args:
        hub_id: ``user/name``, or ``user/name@revision`` with a branch, tag or commit.
        patterns: names of files with ``*`` for any text; without a ``/`` in any of them, subfolders are left out.
        repo_type: "model", "dataset" or "space".

    Returns:
        The folder in the cache, whose name is the commit.

    Raises:
        HubError: it is not there, not ours to read, or neither reachable nor in the cache.
    """
    from huggingface_hub import snapshot_download

    repo_id, revision = split_revision(hub_id)
    top_only = not any("/" in pattern for pattern in patterns)
    try:
        folder = snapshot_download(
            repo_id,
            repo_type=repo_type,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*"] if top_only else None,
        )
    except Exception as error:  # the client's errors have no common root, and a connection can break in many ways
        raise HubError(f"cannot get the {repo_type} {hub_id!r} from the Hub: {_why_not_read(error)}") from error
    return Path(folder)


def commit_of(folder: Path) -> str | None:
    """The commit that a folder in the cache is of; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def _why_not_read(error: Exception) -> str:
    from huggingface_hub import errors

    reasons = {
        errors.GatedRepoError: "it is gated: ask for access on its page, then log in with a token that has it "
        "(`hf auth login`, HF_TOKEN)",
        errors.RepositoryNotFoundError: "there is no such repository, or it is private and you are not logged in "
        "(`hf auth login`, HF_TOKEN)",
        errors.RevisionNotFoundError: "it has no such revision",
        errors.LocalEntryNotFoundError: "it is not (completely) in the local cache, and the Hub cannot be reached (or "
        "HF_HUB_OFFLINE is set)",
    }
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), _first_line(error))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@dataclass(frozen=True)
class Pushed:
    """Where something was pushed.

    Attributes:
        url: of the repository, or of the pull request.
        commit: what holds it now, 40 hexadecimal digits.
        is_new: False when the repository, or an open pull request, held the same files already.
    """

    url: str
    commit: str
    is_new: bool


def log_in(repo_ids: Sequence[str], token: str | None = None, create_pr: bool = False) -> HfApi:
    """A client of the Hub whose token may write to repositories of these names.

    Args:
        repo_ids: as ``user/name``.
        token: default: that of the environment or of ``hf auth login``.
        create_pr: changes are only proposed, which the repositories of others allow too.

    Raises:
        HubError: there is no token, the Hub does not know it, it may only read, or a name is not ours.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    for repo_id in repo_ids:
        if not REPO_ID.fullmatch(repo_id):
            raise HubError(f"{repo_id!r} is no name of a repository; write USER/NAME")
    token = token or get_token()
    if token is None:
        raise HubError("you are not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to one that may write")
    api = HfApi(token=token)
    try:
        account = api.whoami()
    except HfHubHTTPError as error:
        known = error.response.status_code not in (401, 403)
        reason = (
            _first_line(error) if known else "it does not know your token (HF_TOKEN, `hf auth login`); make another"
        )
        raise HubError(f"the Hub refused the login: {reason}") from error
    except Exception as error:  # any way in which a connection fails
        raise HubError(f"the Hub at {api.endpoint} cannot be reached: {_first_line(error)}") from error
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(f"the token of {account['name']} may only read: make one that may write")
    ours = [account["name"], *(group["name"] for group in account.get("orgs", []))]
    others = [repo_id for repo_id in repo_ids if repo_id.split("/")[0] not in ours]
    if others and not create_pr:
        raise HubError(
            f"{others[0]} is not yours: you are {account['name']} and may write to {', '.join(ours)}. To propose a "
            "change to a repository of others, use --create_pr"
        )
    return api


def push_folder(
    api: HfApi,
    folder: Path,
    repo_id: str,
    message: str,
    repo_type: str = "model",
    private: bool = False,
    create_pr: bool = False,
    replaced: Sequence[str] = (),
) -> Pushed:
    """Make a repository hold the files of a folder, by one commit; it is created where it is missing.

    Large files are sent before the commit: a connection that breaks leaves the repository as it was, and a second push
    does not send again what has arrived. The same files make no new commit.

    Args:
        api: of `log_in`.
        repo_type: "model", "dataset" or "space" (a Gradio one).
        private: who may see a repository that is created; one that is there and public is refused.
        create_pr: propose the commit as a pull request instead of changing the repository.
        replaced: patterns of files that are deleted where ``folder`` does not hold them; all others stay.

    Raises:
        HubError: it cannot be created or written; nothing was committed then.
    """
    name = f"{repo_type} {repo_id}"
    url = f"{api.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"
    try:
        if not (create_pr and api.repo_exists(repo_id, repo_type=repo_type)):
            sdk = "gradio" if repo_type == "space" else None
            api.create_repo(repo_id, repo_type=repo_type, private=private or None, space_sdk=sdk, exist_ok=True)
        info = api.repo_info(repo_id, repo_type=repo_type)
        if private and not info.private:
            raise HubError(f"the {name} exists and is public; make it private on its page, or leave out --private")
        if create_pr and (proposed := _open_proposal(api, folder, repo_id, repo_type)):
            number, commit = proposed
            return Pushed(f"{url}/discussions/{number}", commit, is_new=False)
        with warnings.catch_warnings():
            # A model may carry the predictions behind its figures.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            done = api.upload_folder(
                repo_id=repo_id,
                repo_type=repo_type,
                folder_path=folder,
                commit_message=message,
                create_pr=create_pr,
                parent_commit=info.sha,
                delete_patterns=list(replaced) or None,
            )
    except HubError:
        raise
    except Exception as error:  # the client's errors have no common root, and a connection can break in many ways
        raise HubError(
            f"nothing was committed to the {name}: {_why_not_written(error)}. Run the same command again to resume"
        ) from error
    return Pushed(done.pr_url or url, done.oid, is_new=done.oid != info.sha)


def _why_not_written(error: Exception) -> str:
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status == 403:
        return "your token may not write there"
    if status == 412:
        return "somebody else changed it meanwhile"
    # The client says only which file it was; what happened stands behind that.
    cause = error.__cause__ if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception) else error
    return _first_line(cause)


def _open_proposal(api: HfApi, folder: Path, repo_id: str, repo_type: str) -> tuple[int, str] | None:
    """The number and commit of an open pull request of ours that holds the same files as a folder."""
    from huggingface_hub import RepoFile

    proposals = api.get_repo_discussions(
        repo_id,
        repo_type=repo_type,
        author=api.whoami()["name"],
        discussion_type="pull_request",
        discussion_status="open",
    )
    for proposal in proposals:
        revision = f"refs/pr/{proposal.num}"
        entries = api.list_repo_tree(repo_id, repo_type=repo_type, revision=revision, recursive=True)
        files = [entry for entry in entries if isinstance(entry, RepoFile)]
        ids = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}
        if all(ids.get(path.relative_to(folder).as_posix()) in _ids(path) for path in files_below(folder)):
            return proposal.num, str(api.repo_info(repo_id, repo_type=repo_type, revision=revision).sha)
    return None


def _ids(path: Path) -> tuple[str, str]:
    """What the Hub calls a file's content: its sha256 if it is large, else git's id."""
    content = path.read_bytes()
    blob = f"blob {len(content)}\0".encode() + content
    return hashlib.sha256(content).hexdigest(), hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
