"""Download a folder of recordings from a repository whose large files lie in git-lfs.

git and git-lfs do the work: they go on where a connection broke off, and check the SHA-256 of each file that the
repository tells.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ser_hf.corpora import CorpusError
from ser_hf.corpora.download import DownloadError
from ser_hf.corpora.files import recordings, unfinished

ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}  # ask nobody; large files later


def fetch_folder(url: str, mirrors: Sequence[str], inside: str, folder: Path, corpus: str, n_recordings: int) -> None:
    """Download one folder of a repository to `folder`/`inside`: all of it, or nothing.

    Which files there are, and their checksums, comes from `url` alone; the large files from there, or from the first
    of the mirrors that has them. What came stays in a hidden folder beside, and the next call goes on from it.

    Args:
        url: address of the repository.
        mirrors: other addresses of its large files, for when a server's quota is spent.
        inside: the folder in the repository; one name, without parts.
        corpus: its name, for messages.
        n_recordings: how many recordings the folder must hold.

    Raises:
        CorpusError: another number of recordings.
        DownloadError: git or git-lfs is not installed; unreachable, refused, broken off.
    """
    for program in ("git", "git-lfs"):
        if not shutil.which(program):
            raise DownloadError(f"{url}: {program} is not installed")
    beside = unfinished(folder)
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{beside} cannot be written: {error.strerror or error}") from None
    _git(beside, "init", "--quiet")
    _git(beside, "lfs", "install", "--local")
    _git(beside, "fetch", "--quiet", "--depth", "1", url, "HEAD")
    _git(beside, "sparse-checkout", "set", inside)
    _git(beside, "checkout", "--quiet", "--force", "FETCH_HEAD")
    found = len(recordings(beside / inside))
    if found != n_recordings:
        raise CorpusError(f"{url}: holds {found} recordings, not the {n_recordings} of {corpus}")
    _pull(beside, [url, *mirrors], inside)
    folder.mkdir(exist_ok=True)
    (beside / inside).rename(folder / inside)
    shutil.rmtree(beside)


def _pull(repository: Path, urls: Sequence[str], inside: str) -> None:
    """Replace the pointers by the large files they point to, from the first address that has them all."""
    problems = []
    for url in urls:
        _git(repository, "config", "remote.origin.url", url)
        try:
            return _git(repository, "lfs", "pull", "--include", f"{inside}/*")
        except DownloadError as error:
            problems.append(str(error))
    raise DownloadError("; ".join(problems))


def _git(repository: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()[-1]
        raise DownloadError(f"git {' '.join(arguments)}: {last}")
