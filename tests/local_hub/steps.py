"""What the tests of the local Hub do again and again."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

CARD = "---\nlicense: mit\npipeline_tag: audio-classification\ntags: [speech]\n---\n# A model\n"
WEIGHTS = bytes(range(256)) * 5000  # 1,280,000 bytes that are no text


def commit(api: HfApi, files: dict[str, bytes], repo_id: str = "alice/model", **options: Any) -> CommitInfo:
    """Add files by one commit."""
    additions = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(repo_id, additions, commit_message=f"Add {', '.join(files)}", **options)


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    """The HTTP status of an error that was expected."""
    return error.value.response.status_code
