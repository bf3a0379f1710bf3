"""Get a corpus from its official record: a zip file, a Dataverse repository, or a folder in git-lfs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import requests
from tqdm.auto import tqdm

from ser_hf.corpora.files import CorpusError, recordings, unpack
from ser_hf.utils.files import PART

if TYPE_CHECKING:
    from ser_hf.corpora.corpus import Corpus

CHUNK = 1 << 16  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
ATTEMPTS = 4  # in a row that bring nothing
WAIT = 1.0  # seconds before the next attempt, doubled each time
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}


class DownloadError(Exception):
    """A file could not be fetched; the message says which and why."""


class Source(Protocol):
    """Where the recordings of a corpus are downloaded from."""

    def fetch(self, corpus: Corpus, beside: Path, tree: Path) -> None:
        """Write the recordings below `tree`, and what must survive an interruption below `beside`."""


def obtain(corpus: Corpus, folder: Path, download: bool) -> None:
    """Put all recordings of a corpus into its empty folder: from a zip file that lies there, or else downloaded.

    Until it is complete a download lies in a hidden folder beside it, and the next call resumes it.

    Raises:
        CorpusError: a failed download, not a complete zip file, another number of recordings, no room to write.
    """
    archive = next(iter(sorted(folder.glob("*.zip"))), None)
    is_vacant = all(path.name.startswith(".") for path in folder.glob("*"))
    if archive is None and not (download and is_vacant and corpus.source):
        return
    beside = folder.with_name(f".{folder.name}-download")
    tree = beside / "complete"
    by_hand = corpus.how_to_get.format(folder=folder)
    try:
        tree.mkdir(parents=True, exist_ok=True)
        if archive is not None:
            unpack(archive, tree, corpus.target_of)
        else:
            assert corpus.source is not None
            corpus.source.fetch(corpus, beside, tree)
        found = len(recordings(tree, corpus.suffixes))
        if found != corpus.n_recordings:
            raise CorpusError(f"{archive or corpus.record}: holds {found} recordings, not {corpus.n_recordings}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(tree.iterdir()):
            path.rename(folder / path.name)
        shutil.rmtree(beside)
    except DownloadError as error:
        raise CorpusError(
            f"{corpus.title} could not be downloaded: {error}. Run again to resume, or {by_hand}"
        ) from None
    except CorpusError as error:
        shutil.rmtree(beside)
        raise CorpusError(f"{error}; {by_hand}") from None
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be written: {error.strerror or error}") from None


@dataclass(frozen=True)
class Zip:
    """A zip file; `md5` and `size` (bytes) where its record states them."""

    url: str
    md5: str | None = None
    size: int | None = None

    def fetch(self, corpus: Corpus, beside: Path, tree: Path) -> None:
        """Download the file and unpack the recordings in it."""
        unpack(fetch(self.url, beside / "record.zip", self.md5, self.size), tree, corpus.target_of)


@dataclass(frozen=True)
class Dataverse:
    """A record in a Dataverse repository (https://guides.dataverse.org/en/latest/api/)."""

    site: str
    doi: str

    def fetch(self, corpus: Corpus, beside: Path, tree: Path) -> None:
        """Download each recording of the newest published version."""
        for file in tqdm(self._files(), desc=f"downloading {corpus.title}", unit="clip"):
            target = corpus.target_of(PurePosixPath(file["filename"]))
            if target is not None and not (tree / target).is_file():
                url = f"{self.site}/api/access/datafile/{file['id']}"
                fetch(url, tree / target, file.get("md5"), file["filesize"], progress=False)

    def _files(self) -> list[dict]:
        url = f"{self.site}/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:{self.doi}"
        try:
            response = requests.get(url, timeout=TIMEOUT)
            response.raise_for_status()
            files = [entry["dataFile"] for entry in response.json()["data"]]
            return [file for file in files if file["id"] and file["filename"] and file["filesize"] is not None]
        except (requests.JSONDecodeError, KeyError, TypeError):
            raise DownloadError(f"{url}: the response is not a list of files") from None
        except requests.RequestException as error:
            raise DownloadError(f"{url}: cannot be fetched ({_reason(error)})") from None


@dataclass(frozen=True)
class GitLfs:
    """A folder of a git repository whose recordings lie in git-lfs, here or at a mirror of the large files.

    git and git-lfs resume broken downloads and check the SHA-256 of each file that `url` states.
    """

    url: str
    inside: str
    mirror: str

    def fetch(self, corpus: Corpus, beside: Path, tree: Path) -> None:
        """Check out the folder, then pull its large files from `url` or else from the mirror."""
        for program in ("git", "git-lfs"):
            if not shutil.which(program):
                raise DownloadError(f"{self.url}: {program} is not installed")
        repository = beside / "repository"
        repository.mkdir(exist_ok=True)
        _git(repository, "init", "--quiet")
        _git(repository, "lfs", "install", "--local")
        _git(repository, "fetch", "--quiet", "--depth", "1", self.url, "HEAD")
        _git(repository, "sparse-checkout", "set", self.inside)
        _git(repository, "checkout", "--quiet", "--force", "FETCH_HEAD")
        try:
            self._pull(repository, self.url)
        except DownloadError:  # GitHub's quota is often spent
            self._pull(repository, self.mirror)
        for path in recordings(repository / self.inside):
            target = corpus.target_of(PurePosixPath(path.name))
            if target is not None:
                (tree / target).parent.mkdir(parents=True, exist_ok=True)
                path.rename(tree / target)

    def _pull(self, repository: Path, url: str) -> None:
        _git(repository, "config", "remote.origin.url", url)
        _git(repository, "lfs", "pull", "--include", f"{self.inside}/*")


def _git(repository: Path, *arguments: str) -> None:
    environment = os.environ | GIT_ENVIRONMENT
    done = subprocess.run(["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()[-1]
        raise DownloadError(f"git {' '.join(arguments)}: {last}")


def fetch(url: str, target: Path, md5: str | None = None, size: int | None = None, progress: bool = True) -> Path:
    """Download a file so that it is either complete and right, or not there.

    What arrives is kept in `target`.part; after a broken connection, or in the next call, the download is resumed
    there (HTTP Range) where the server allows it.

    Args:
        md5, size: of the file, in hexadecimal digits and bytes; None where they are not known.
        progress: show a progress bar.

    Raises:
        DownloadError: unreachable, refused, interrupted, a wrong size or checksum (the file is removed), no room.
    """
    part = target.with_name(target.name + PART)
    failures = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, disable=not progress) as bar:
            while size is None or _size(part) < size:
                have, problem = _size(part), "the connection ends early"
                try:
                    _append(url, part, bar)
                    if size is None:
                        break
                except requests.RequestException as error:
                    problem = _reason(error)
                failures = 0 if _size(part) > have else failures + 1
                if failures == ATTEMPTS:
                    raise DownloadError(f"{url}: cannot be fetched ({problem})")
                if failures:
                    time.sleep(WAIT * 2 ** (failures - 1))
        _check(url, part, md5, size)
        return part.rename(target)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None


def _append(url: str, part: Path, bar: tqdm) -> None:
    """Request what is missing behind the first bytes of a file, and write it behind them."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # the part is as long as the file, or longer
            part.unlink()
        if 400 <= response.status_code < 500:  # asking again would not help
            raise DownloadError(f"{url}: the server returned {response.status_code} {response.reason}")
        response.raise_for_status()
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        bar.n = have if resumed else 0  # a server that ignores Range sends the whole file again
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _check(url: str, part: Path, md5: str | None, size: int | None) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if (size is not None and _size(part) != size) or (md5 is not None and found != md5):
        wrong = f"{_size(part)} bytes and md5 {found} instead of {size} and {md5}"
        part.unlink()
        raise DownloadError(f"{url}: wrong content ({wrong}); it was removed")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: requests.RequestException) -> str:
    return f"status {error.response.status_code}" if error.response is not None else type(error).__name__
