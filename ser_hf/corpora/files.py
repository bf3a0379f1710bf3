"""Recordings on disk: find them, check that they open, unpack them from a zip file."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import soundfile
from tqdm.auto import tqdm

from ser_hf.errors import SerHfError

SUFFIXES = (".wav", ".flac")
WITH_MP3 = (*SUFFIXES, ".mp3")  # for a corpus whose official files are mp3
OTHER_SUFFIXES = (".mp3", ".m4a", ".ogg", ".opus", ".aiff", ".aif", ".wma", ".webm")
LARGEST_MEMBER = 50_000_000  # bytes; official clips have less than a tenth of it
GIT_LFS_POINTER = b"version https://git-lfs"


class CorpusError(SerHfError):
    """A corpus that cannot be used; the message names the file or folder and says what to do."""


def is_recording(path: Path | PurePosixPath, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether a relative path is that of a recording; hidden files and macOS's additions to archives are not."""
    return path.suffix.lower() in suffixes and not any(
        part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts
    )


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
        with path.open("rb") as file:
            start = file.read(len(GIT_LFS_POINTER))
        if start == GIT_LFS_POINTER:
            return f"{path}: is a git-lfs pointer, not a recording; run git lfs pull"
        return f"{path}: {'not a readable recording' if start else 'the file is empty (0 bytes)'}"


def unpack(archive: Path, folder: Path, target_of: Callable[[PurePosixPath], Path | None]) -> None:
    """Unpack some members of a zip file into a folder.

    Args:
        target_of: path of a member -> path below `folder`; None leaves the member out. It must not depend on the
            member's folders, so that nothing is written elsewhere.

    Raises:
        CorpusError: not a complete zip file, or a member that is too large for a clip.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            for member in tqdm(file.infolist(), desc=f"unpacking {archive.name}", unit="clip"):
                target = None if member.is_dir() else target_of(PurePosixPath(member.filename))
                if target is None:
                    continue
                if member.file_size > LARGEST_MEMBER:
                    raise CorpusError(f"{archive}: {member.filename} is far too large for a clip")
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorpusError(f"{archive}: not a complete zip file ({error}); download it again") from None
