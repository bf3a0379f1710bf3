"""Download one file so that it is either whole and right, or not there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import requests
from tqdm.auto import tqdm

from ser_hf.files import PART

CHUNK = 1 << 16  # bytes; a broken connection loses at most one
TIMEOUT = (10, 60)  # seconds to connect, and without a byte


class DownloadError(Exception):
    """The file could not be fetched; the message says why."""


def fetch(
    url: str,
    target: Path,
    md5: str | None,
    size: int | None,
    attempts: int = 4,
    wait: float = 1.0,
    progress: bool = True,
) -> Path:
    """Download `url` to `target`.

    What arrives is kept in `target`.part; a broken connection, or the next call, goes on from there (HTTP Range). The
    file takes its name only when it is whole and its md5 is right.

    Args:
        md5: None where the record tells none; then only the size is checked, and the caller checks the contents.
        size: of the file, in bytes; None asks the server.
        attempts: give up after so many in a row that brought nothing.
        wait: seconds between such attempts, doubled each time.
        progress: show a bar of its bytes.

    Raises:
        DownloadError: unreachable, refused, broken off, a wrong checksum (what came is removed), no room to write,
            a server that does not tell the size when it is asked.
    """
    part = target.with_name(target.name + PART)
    failures = 0
    size = _announced_size(url) if size is None else size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, disable=not progress) as bar:
            while (have := _size(part)) < size:
                problem = "the connection ends early"
                try:
                    _append(url, part, have, size, bar)
                except requests.RequestException as error:
                    problem = f"{'the connection breaks off' if have else 'cannot be reached'} ({type(error).__name__})"
                failures = 0 if _size(part) > have else failures + 1
                if failures >= attempts:
                    raise DownloadError(f"{url}: {problem}")
                if failures:
                    time.sleep(wait * 2 ** (failures - 1))
        if md5 is not None:
            with part.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != md5:
                part.unlink()
                raise DownloadError(f"{url}: what came has the md5 {found}, not {md5}; it was removed")
        return part.rename(target)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None


def fetch_stream(url: str, target: Path) -> Path:
    """Download `url` to `target` from a server that does not announce the size, as GitHub does for its zip archives.

    Such a server cannot resume, and no checksum is known: the caller checks the contents.

    Raises:
        DownloadError: unreachable, refused, broken off, no room to write; what came is removed.
    """
    part = target.with_name(target.name + PART)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            requests.get(url, stream=True, timeout=TIMEOUT) as response,
            part.open("wb") as file,
            tqdm(desc=target.name, unit="B", unit_scale=True) as bar,
        ):
            if not response.ok:
                raise DownloadError(f"{url}: the server answers {response.status_code} {response.reason}")
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        return part.rename(target)
    except requests.RequestException as error:
        raise DownloadError(f"{url}: cannot be fetched ({type(error).__name__})") from None
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _announced_size(url: str) -> int:
    try:
        with requests.head(
            url, headers={"Accept-Encoding": "identity"}, allow_redirects=True, timeout=TIMEOUT
        ) as answer:
            length = answer.headers.get("Content-Length", "")
            if not answer.ok:
                raise DownloadError(f"{url}: the server answers {answer.status_code} {answer.reason}")
    except requests.RequestException as error:
        raise DownloadError(f"{url}: cannot be reached ({type(error).__name__})") from None
    if not length.isdecimal():
        raise DownloadError(f"{url}: the server does not say how large the file is")
    return int(length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(url: str, part: Path, have: int, size: int, bar: tqdm) -> None:
    """Ask for what is missing behind the first `have` bytes, and write it behind them."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code >= 500:
            raise requests.ConnectionError(f"the server answers {response.status_code} {response.reason}")
        if not response.ok:
            raise DownloadError(f"{url}: the server answers {response.status_code} {response.reason}")
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = bar.n = have if resumed else 0  # a server that ignores Range sends the whole file again
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk[: size - have])
                have += len(chunk)
                bar.update(len(chunk))
                if have >= size:
                    break
