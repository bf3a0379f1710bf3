"""Recordings on disk: find them, and check that they open."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import soundfile

from ser_hf.errors import SerHfError
from ser_hf.utils.recordings import is_hidden

SUFFIXES = (".wav", ".flac")
WITH_MP3 = (*SUFFIXES, ".mp3")  # for a corpus whose official files are mp3
GIT_LFS_POINTER = b"version https://git-lfs"


class CorpusError(SerHfError):
    """A corpus that cannot be used; the message names the file or folder and says what to do."""


def is_recording(path: Path | PurePosixPath, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether a relative path is that of a recording; hidden files and macOS's additions to archives are not."""
    return path.suffix.lower() in suffixes and not is_hidden(path)


def recordings(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """All recordings below a folder, sorted; none if the folder does not exist."""
    paths = folder.rglob("*")
    return sorted(path for path in paths if is_recording(path.relative_to(folder), suffixes) and path.is_file())


def check_headers(paths: Iterable[Path]) -> None:
    """Check that every file opens and holds samples (about a second per thousand files).

    Raises:
        CorpusError: names the first file that does not, and how many more there are.
    """
    with ThreadPoolExecutor(8) as pool:
        problems = [text for text in pool.map(_problem, paths) if text]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorpusError(f"{problems[0]}{more}; fetch it again from the official record")


def _problem(path: Path) -> str | None:
    try:
        return None if soundfile.info(str(path)).frames else f"{path}: holds no sound (0 samples)"
    except soundfile.LibsndfileError:
        if path.read_bytes().startswith(GIT_LFS_POINTER):
            return f"{path}: is a git-lfs pointer, not a recording; run git lfs pull"
        return f"{path}: empty, or not a readable recording"
