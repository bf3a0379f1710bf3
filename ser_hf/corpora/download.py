"""Get a corpus from its official record: a zip file, a Dataverse repository, or a folder in git-lfs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from tqdm.auto import tqdm

from ser_hf.corpora.files import CorpusError, recordings
from ser_hf.utils.files import PART

if TYPE_CHECKING:
    from ser_hf.corpora.corpus import Corpus

HEADERS = {"Accept-Encoding": "identity"}  # the bytes of the file, whose number and checksum are known
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}


class DownloadError(Exception):
    """A file could not be fetched; the message says which and why."""


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
        url = f"{self.site}/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:{self.doi}"
        listing = fetch(url, beside / "files.json", progress=False)
        try:
            files = [entry["dataFile"] for entry in json.loads(listing.read_bytes())["data"]]
            facts = [(PurePosixPath(file["filename"]), file["id"], file.get("md5"), file["filesize"]) for file in files]
        except (ValueError, KeyError, TypeError):
            raise DownloadError(f"{url}: the response is not a list of files") from None
        finally:
            listing.unlink()
        for path, number, md5, size in tqdm(facts, desc=f"downloading {corpus.title}", unit="clip"):
            target = corpus.target_of(path)
            if target is not None and not (tree / target).is_file():
                fetch(f"{self.site}/api/access/datafile/{number}", tree / target, md5, size, progress=False)


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
        pull = ("lfs", "pull", "--include", f"{self.inside}/*")
        _git(repository, "config", "remote.origin.url", self.url)
        try:
            _git(repository, *pull)
        except DownloadError:  # GitHub's quota is often spent
            _git(repository, "config", "remote.origin.url", self.mirror)
            _git(repository, *pull)
        for path in recordings(repository / self.inside):
            target = corpus.target_of(PurePosixPath(path.name))
            if target is not None:
                (tree / target).parent.mkdir(parents=True, exist_ok=True)
                path.rename(tree / target)


Source = Zip | Dataverse | GitLfs


def _git(repository: Path, *arguments: str) -> None:
    environment = os.environ | GIT_ENVIRONMENT
    done = subprocess.run(["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()[-1]
        raise DownloadError(f"git {' '.join(arguments)}: {last}")


def fetch(url: str, target: Path, md5: str | None = None, size: int | None = None, progress: bool = True) -> Path:
    """Download a file so that it is either complete and right, or not there.

    What arrives is kept in `target`.part, where a broken connection or the next call resumes it.

    Args:
        md5, size: of the file, in hexadecimal digits and bytes; None where they are not known.
        progress: show a progress bar.

    Raises:
        DownloadError: unreachable, refused, interrupted, a wrong size or checksum (the file is removed), no room.
    """
    part = target.with_name(target.name + PART)
    bar: Any = partial(tqdm, disable=not progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            have = file.tell()
            if have != size:
                http_get(url, file, resume_size=have, headers=HEADERS, displayed_filename=target.name, tqdm_class=bar)
    except Exception as error:  # the client's errors have no common root
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 416:  # the part is too long
            part.unlink()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DownloadError(f"{url} cannot be fetched to {target} ({reason})") from error
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest(), part.stat().st_size
    if md5 not in (None, found[0]) or size not in (None, found[1]):
        part.unlink()
        raise DownloadError(f"{url}: md5 {found[0]} and {found[1]} bytes instead of {md5} and {size}; it was removed")
    return part.rename(target)


def unpack(archive: Path, folder: Path, target_of: Callable[[PurePosixPath], Path | None]) -> None:
    """Unpack some members of a zip file into a folder.

    Args:
        target_of: path of a member -> path below `folder`; None leaves the member out. It must not depend on the
            member's folders, so that nothing is written elsewhere.

    Raises:
        CorpusError: not a complete zip file.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            for member in tqdm(file.infolist(), desc=f"unpacking {archive.name}", unit="clip"):
                target = target_of(PurePosixPath(member.filename))
                if target is not None:
                    path = folder / target
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(member) as packed, path.open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorpusError(f"{archive}: not a complete zip file ({error}); download it again") from None
