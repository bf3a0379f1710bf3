"""What all corpora share on disk: find their recordings, check them, and unpack them from a zip."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import soundfile
from datasets import Dataset
from tqdm.auto import tqdm

from ser_hf.corpora import CorpusError, clip_table

AUDIO_SUFFIXES = (".wav", ".flac")
WITH_MP3 = (*AUDIO_SUFFIXES, ".mp3")  # for a corpus whose official files are mp3
OTHER_AUDIO_SUFFIXES = (".mp3", ".m4a", ".ogg", ".opus", ".aiff", ".aif", ".wma", ".webm")
LARGEST_MEMBER = 50_000_000  # bytes; no official clip of any corpus here has a tenth of it
GIT_LFS_POINTER = b"version https://git-lfs"

Name = TypeVar("Name")


class Clip(NamedTuple):
    """What a file name says, as columns of the clip table (`ser_hf.corpora`)."""

    clip: str
    emotion: str
    speaker: str
    gender: str | None
    repetition: int | None = None


def is_recording(path: Path | PurePosixPath, suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> bool:
    """Whether a relative path is that of a wav or flac file; hidden files and what macOS adds to archives are not."""
    return path.suffix.lower() in suffixes and not any(
        part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts
    )


def recordings(folder: Path, suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> list[Path]:
    """All wav and flac files below a folder, sorted; none if it is not there."""
    paths = folder.rglob("*")
    return sorted(path for path in paths if is_recording(path.relative_to(folder), suffixes) and path.is_file())


def is_vacant(folder: Path) -> bool:
    """Whether a corpus may be downloaded into a folder: it is not there, or holds nothing but hidden files."""
    return all(path.name.startswith(".") for path in folder.glob("*"))


def unfinished(folder: Path) -> Path:
    """Where a download of many files lies until it is whole: hidden, beside the corpus's folder."""
    return folder.with_name(f".{folder.name}-download")


def find_clips(
    folder: Path, parse: Callable[[Path], Name], how_to_get: str, suffixes: tuple[str, ...] = AUDIO_SUFFIXES
) -> dict[Name, Path]:
    """All recordings below a corpus's folder by what their names say, in the order of their paths.

    The same clip twice, byte for byte, is there once and is warned of: copies of some corpora hold themselves again.

    Args:
        parse: a path -> what its name says; raises CorpusError for a name that is not the corpus's.
        how_to_get: what to do if there are no recordings; ends the message.
        suffixes: of the files that are recordings.

    Raises:
        CorpusError: no recordings, a wrong name, one clip as two different files, a file that cannot be read.
    """
    paths = recordings(folder, suffixes)
    if not paths:
        others = sorted({path.suffix for path in folder.rglob("*") if path.suffix.lower() in OTHER_AUDIO_SUFFIXES})
        what = f"holds {' and '.join(others)} but no wav or flac recordings" if others else "holds no recordings"
        raise CorpusError(f"{folder}: {what if folder.is_dir() else 'is not there'}; {how_to_get}")
    found: dict[Name, Path] = {}
    copies = []
    for path in paths:
        name = parse(path)
        if name not in found:
            found[name] = path
        elif path.read_bytes() == found[name].read_bytes():
            copies.append(path)
        else:
            raise CorpusError(f"{path}: the same clip as {found[name]}, but other sound; remove one of the two")
    if copies:
        warnings.warn(
            f"{folder}: {len(copies)} recordings are there twice, such as {copies[0]}; each is taken once", stacklevel=4
        )
    check_headers(list(found.values()))
    return found


def table_of(corpus: str, clips: Iterable[tuple[Clip, Path]], unmapped: str = "drop") -> Dataset:
    """The clip table of clips and their files, ordered by clip; `statement` and `intensity` are None.

    Args:
        unmapped: see `ser_hf.corpora.clip_table`.
    """
    rows = sorted(clips)
    names = [name for name, _ in rows]
    columns = {field: [getattr(name, field) for name in names] for field in Clip._fields}
    columns |= {"audio": [str(path) for _, path in rows], "corpus": [corpus] * len(rows)}
    columns |= {"statement": [None] * len(rows), "intensity": [None] * len(rows)}
    order = ("clip", "audio", "emotion", "speaker", "gender", "statement", "intensity", "repetition", "corpus")
    return clip_table({name: columns[name] for name in order}, unmapped)


def warn_if_fewer(folder: Path, found: int, official: int) -> None:
    """Say in a warning that a corpus is not whole."""
    if found < official:
        warnings.warn(f"{folder}: holds {found} of the {official} clips of the official record", stacklevel=4)


def check_headers(paths: Iterable[Path]) -> None:
    """Every file opens and holds samples (about a second for a thousand).

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
            return f"{path}: only points to a recording; git lfs pull brings it"
        return f"{path}: {'not a recording that can be read' if start else 'the file is empty (0 bytes)'}"


def unpack(
    archive: Path,
    folder: Path,
    target_of: Callable[[PurePosixPath], str | None],
    corpus: str,
    n_recordings: int | None = None,
) -> None:
    """Unpack members of a zip into a folder: all that are wanted, or none.

    Where a member is written follows from `target_of` alone, so none can be written anywhere else.

    Args:
        target_of: a member's path -> "FOLDER/NAME" below `folder`, made of checked parts; None leaves it out.
        corpus: its name, for messages.
        n_recordings: how many of the members that are wanted must be recordings; None: any number.

    Raises:
        CorpusError: not a whole zip, another number of recordings, a member that is too large for a clip, no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as file, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as beside:
            targets = [(member, target_of(PurePosixPath(member.filename))) for member in file.infolist()]
            wanted = [(member, target) for member, target in targets if target and not member.is_dir()]
            found = sum(is_recording(PurePosixPath(target), WITH_MP3) for _, target in wanted)
            if n_recordings is not None and found != n_recordings:
                raise CorpusError(f"{archive}: holds {found} recordings, not the {n_recordings} of {corpus}")
            for member, target in tqdm(wanted, desc=f"unpacking {archive.name}", unit="clip"):
                if member.file_size > LARGEST_MEMBER:
                    raise CorpusError(f"{archive}: {member.filename} is far too large for a clip of {corpus}")
                path = Path(beside, target)
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            for made in sorted(Path(beside).iterdir()):
                made.rename(folder / made.name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorpusError(f"{archive}: not a whole zip file ({error}); download it again") from None
    except OSError as error:
        raise CorpusError(f"{archive}: cannot be unpacked into {folder}: {error.strerror or error}") from None
