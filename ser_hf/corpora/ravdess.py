"""RAVDESS speech: 24 actors, eight emotions (Livingstone & Russo 2018).

1440 clips, 60 an actor; odd actors are men, even are women. Two of them, 03-01-03-01-02-01-07 and 03-01-03-01-02-02-07,
are the same bytes in the official record; they are left as they are, as all published figures have them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets import Dataset

from ser_hf.corpora import CorpusError, clip_table, files
from ser_hf.corpora.download import DownloadError, fetch
from ser_hf.corpora.files import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES, is_recording
from ser_hf.files import PART
from ser_hf.labels import RAVDESS_EMOTIONS

TITLE = "RAVDESS"
CITATION = (
    "S. R. Livingstone and F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), "
    "PLOS ONE 13(5): e0196391, 2018, doi:10.1371/journal.pone.0196391"
)
RECORD = "https://zenodo.org/records/1188976"
LANGUAGE = "en"
LICENCE = "CC-BY-NC-SA-4.0"
TRAINABLE = True
HAS_CALM = True
FILE = "Actor_{speaker}/{clip}.wav"
ZIP_NAME = "Audio_Speech_Actors_01-24.zip"
URL = f"{RECORD}/files/{ZIP_NAME}?download=1"
MD5 = "bc696df654c87fed845eb13823edef8a"
SIZE = 208_468_073

CLIPS_PER_ACTOR = 60
ACTORS = tuple(f"{number:02d}" for number in range(1, 25))
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
INTENSITIES = {"01": "normal", "02": "strong"}
# The seven fields of an official name, in order, with the values each may have.
FIELDS = {
    "modality": ("01", "02", "03"),  # full audio-visual, video only, audio only
    "channel": ("01", "02"),  # speech, song
    "emotion": tuple(RAVDESS_EMOTIONS),
    "intensity": tuple(INTENSITIES),
    "statement": tuple(STATEMENTS),
    "repetition": ("01", "02"),
    "actor": ACTORS,
}


class ClipName(NamedTuple):
    """The seven fields of an official name, each two digits as in the name."""

    modality: str
    channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str

    def __str__(self) -> str:
        return "-".join(self)

    @property
    def is_audio_speech(self) -> bool:
        return (self.modality, self.channel) == ("03", "01")

    @property
    def gender(self) -> str:
        return "female" if int(self.actor) % 2 == 0 else "male"


def parse_name(name: str | Path) -> ClipName:
    """Read an official file name such as 03-01-06-02-01-01-12.wav (folder and suffix may be there or not).

    Raises:
        CorpusError: names the file, the field and the value that are wrong.
    """
    values = Path(name).stem.split("-")
    if len(values) != len(FIELDS):
        raise CorpusError(
            f"{name}: not an official RAVDESS name; expected seven two-digit fields ({'-'.join(FIELDS)}) such as "
            "03-01-06-02-01-01-12"
        )
    for (field, allowed), value in zip(FIELDS.items(), values, strict=True):
        if value not in allowed:
            raise CorpusError(f"{name}: {field} is {value!r}; expected {allowed[0]} to {allowed[-1]}")
    parsed = ClipName(*values)
    if RAVDESS_EMOTIONS[parsed.emotion] == "neutral" and INTENSITIES[parsed.intensity] == "strong":
        raise CorpusError(f"{name}: intensity is '02' (strong), which neutral (emotion '01') never has")
    return parsed


def load(
    data_dir: Path,
    download: bool = True,
    actors: Iterable[int] | None = None,
    url: str = URL,
    md5: str = MD5,
    size: int = SIZE,
) -> Dataset:
    """The clip table of `data_dir`/ravdess/Actor_XX/*.wav or *.flac, ordered by actor, then name.

    The official zip, in that folder or in `data_dir`, is unpacked beside itself; with neither there it is downloaded.

    Args:
        actors: only these actors; default: all 24, and a missing one is an error.
        url, md5, size: of the zip, for a mirror.

    Raises:
        CorpusError: see `load_corpus`.
    """
    folder = data_dir / "ravdess"
    if not any(folder.glob("Actor_*")):
        _obtain(data_dir, folder, download, url, md5, size)
    wanted = ACTORS if actors is None else tuple(f"{int(actor):02d}" for actor in actors)
    clips = [(name, path) for name, path in _find_clips(folder) if name.actor in wanted]
    _check_complete(folder, [name for name, _ in clips], wanted)
    files.check_headers([path for _, path in clips])
    clips.sort(key=lambda clip: (clip[0].actor, clip[0]))
    names = [name for name, _ in clips]
    return clip_table(
        {
            "clip": [str(name) for name in names],
            "audio": [str(path) for _, path in clips],
            "emotion": [RAVDESS_EMOTIONS[name.emotion] for name in names],
            "speaker": [name.actor for name in names],
            "gender": [name.gender for name in names],
            "statement": [STATEMENTS[name.statement] for name in names],
            "intensity": [INTENSITIES[name.intensity] for name in names],
            "repetition": [int(name.repetition) for name in names],
            "corpus": ["ravdess"] * len(names),
        }
    )


def _obtain(data_dir: Path, folder: Path, download: bool, url: str, md5: str, size: int) -> None:
    """Make `folder`/Actor_XX from the official zip: the one that lies there, or else a downloaded one."""
    by_hand = f"download {ZIP_NAME} from {RECORD} and put it into {folder}"
    for archive in (folder / ZIP_NAME, data_dir / ZIP_NAME):
        if archive.is_file():
            unpack(archive, folder)
            return
    if any(data_dir.glob("Actor_*")):
        raise CorpusError(f"{data_dir}: the Actor_XX folders lie directly in it; move them into {folder}")
    others = [path for path in folder.glob("*") if not path.name.startswith(".") and path.suffix != PART]
    if others:
        raise CorpusError(f"{folder}: holds no Actor_XX folder with recordings (but {others[0].name}); {by_hand}")
    if not download:
        raise CorpusError(f"{folder}: RAVDESS is not there; {by_hand}, or allow the download")
    try:
        archive = fetch(url, folder / ZIP_NAME, md5, size)
    except DownloadError as error:
        raise CorpusError(f"RAVDESS could not be downloaded: {error}. Run again to go on, or {by_hand}") from None
    unpack(archive, folder)
    archive.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the clips of the official zip as `folder`/Actor_XX/name: all of them, or none.

    Raises:
        CorpusError: see `ser_hf.corpora.files.unpack`; a clip with a wrong name.
    """

    def target_of(member: PurePosixPath) -> str | None:
        if not is_recording(member):
            return None
        name = parse_name(str(member))
        return f"Actor_{name.actor}/{name}{member.suffix.lower()}"

    files.unpack(archive, folder, target_of, "RAVDESS")


def _find_clips(folder: Path) -> list[tuple[ClipName, Path]]:
    """The audio-only speech clips in `folder`/Actor_XX, each name checked, no clip twice."""
    found: dict[ClipName, Path] = {}
    other = 0
    for path in sorted(folder.glob("Actor_*/*")):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in OTHER_AUDIO_SUFFIXES:
            raise CorpusError(f"{path}: RAVDESS is read from wav or flac, not {path.suffix}")
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        name = parse_name(path)
        if path.parent.name != f"Actor_{name.actor}":
            raise CorpusError(f"{path}: actor is {name.actor!r}, but the folder is {path.parent.name}")
        if not name.is_audio_speech:
            other += 1
        elif name in found:
            raise CorpusError(f"{path}: the same clip as {found[name].name}; remove one of the two")
        else:
            found[name] = path
    if other:
        warnings.warn(f"{folder}: {other} recordings of song or video were left out", stacklevel=4)
    if not found:
        raise CorpusError(f"{folder}: the Actor_XX folders hold no wav or flac recording of speech")
    return list(found.items())


def _check_complete(folder: Path, names: list[ClipName], wanted: Iterable[str]) -> None:
    counts = Counter(name.actor for name in names)
    missing = [actor for actor in wanted if not counts[actor]]
    if missing:
        raise CorpusError(
            f"{folder}: no clips of {', '.join(f'Actor_{actor}' for actor in missing)}; add them, or load the others "
            "alone with actors=[...]"
        )
    short = [f"{actor} has {counts[actor]}" for actor in wanted if counts[actor] < CLIPS_PER_ACTOR]
    if short:
        shown = ", ".join(short[:3]) + (", ..." if len(short) > 3 else "")
        warnings.warn(
            f"{folder}: {len(short)} actors have fewer than {CLIPS_PER_ACTOR} clips (actor {shown})", stacklevel=4
        )
