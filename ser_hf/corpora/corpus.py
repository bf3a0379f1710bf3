"""What a corpus is: its facts, how the names of its recordings are read, and the clip table made of them."""

from __future__ import annotations

import inspect
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow
from datasets import Audio, ClassLabel, Dataset, Features, Value

from ser_hf.corpora.download import Source, obtain
from ser_hf.corpora.files import SUFFIXES, CorpusError, check_headers, is_recording, recordings
from ser_hf.labels import LABEL2ID, LABELS

COLUMNS = ("clip", "audio", "emotion", "speaker", "gender", "statement", "intensity", "repetition", "corpus")


class Clip(NamedTuple):
    """What the name of a recording says, as columns of the clip table; None for what it does not say."""

    clip: str
    emotion: str
    speaker: str
    gender: str | None = None
    statement: str | None = None
    intensity: str | None = None
    repetition: int | None = None


def one_of(name: str, codes: Iterable[str]) -> str:
    """A named group of a regular expression that matches one of some codes.

    >>> one_of("speaker", ["f1", "m1"])
    '(?P<speaker>f1|m1)'
    """
    return f"(?P<{name}>{'|'.join(codes)})"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus: its facts, and the codes in the names of its recordings.

    Attributes:
        name: as `load_corpus` takes it, and of the corpus's folder below the data folder.
        record: address of the official record.
        language: a BCP 47 tag; "zxx" where there are no words.
        licence: an SPDX identifier, or words.
        trainable: whether published models may be trained on it.
        n_recordings: how many the official record holds.
        n_clips: how many of them the clip table has by default, if fewer.
        how_to_get: how to get it by hand; `{folder}` is replaced by the corpus's folder.
        source: where it is downloaded from; None where that takes a registration or is not possible.
        file: path of a clip in the record, with `{clip}`, `{speaker}`, or `{name}`, the clip without its speaker.
        pattern: regular expression of a name without suffix, with the groups `emotion` and `speaker` and, where names
            say it, `statement`, `intensity` and `repetition` (a number, or a letter from a).
        names: the pattern in words with an example, for the error message of another name.
        emotions: code -> label; one that is not in `LABELS` has no counterpart there (see `clip_table`).
        genders: speaker -> "female" or "male", where known.
        statements, intensities: code -> value.
        suffixes: of its recordings.
        read_name: path -> the name that `pattern` describes, where that is not the file's name.
        irregular: names of the record that break the pattern -> the name as it should be.
        select: (clips in order, options of `load_corpus`) -> chosen clips; all are taken without it.
    """

    name: str
    title: str
    citation: str
    record: str
    language: str
    licence: str
    trainable: bool
    n_recordings: int
    n_clips: int = 0
    how_to_get: str
    source: Source | None = None
    file: str
    pattern: str
    names: str
    emotions: Mapping[str, str]
    genders: Mapping[str, str] = field(default_factory=dict)
    statements: Callable[[str], str | None] = str
    intensities: Mapping[str, str] = field(default_factory=dict)
    suffixes: tuple[str, ...] = SUFFIXES
    read_name: Callable[[PurePosixPath], str] = lambda path: path.stem
    irregular: Mapping[str, str] = field(default_factory=dict)
    select: Callable[..., list[Clip]] | None = None

    @property
    def has_calm(self) -> bool:
        """Whether it labels `calm`."""
        return "calm" in self.emotions.values()

    @property
    def options(self) -> list[str]:
        """The options that `load_corpus` takes for it."""
        return ["unmapped", *(list(inspect.signature(self.select).parameters)[1:] if self.select else ())]

    def parse(self, path: str | Path | PurePosixPath) -> Clip:
        """Read the name of a recording.

        Raises:
            CorpusError: not a name of this corpus.
        """
        file = PurePosixPath(path)
        name = self.read_name(file)
        match = re.fullmatch(self.pattern, self.irregular.get(name, name)) if file.stem.isascii() else None
        if match is None:
            raise CorpusError(f"{path}: not an official {self.title} name; expected {self.names}")
        codes = match.groupdict()
        statement, repetition = codes.get("statement"), codes.get("repetition")
        return Clip(
            clip=match[0],
            emotion=self.emotions[codes["emotion"]],
            speaker=codes["speaker"],
            gender=self.genders.get(codes["speaker"]),
            statement=None if statement is None else self.statements(statement),
            intensity=self.intensities.get(codes.get("intensity") or ""),
            repetition=None if repetition is None else _number(repetition),
        )

    def official_name(self, clip: Clip) -> str:
        """The name of a clip in the record."""
        return {regular: official for official, regular in self.irregular.items()}.get(clip.clip, clip.clip)

    def is_named(self, path: Path | PurePosixPath) -> bool:
        """Whether a path has the name of a recording of this corpus."""
        try:
            return bool(self.parse(path))
        except CorpusError:
            return False

    def target_of(self, member: PurePosixPath) -> Path | None:
        """Where a file of the record lies below the corpus's folder; None if it is not a recording of this corpus."""
        if not (is_recording(member, self.suffixes) and self.is_named(member)):
            return None
        clip = self.parse(member)
        official = self.official_name(clip)
        name = official.removeprefix(f"{clip.speaker}_")
        path = Path(self.file.format(clip=official, speaker=clip.speaker, name=name))
        return path.with_suffix(member.suffix.lower())

    def recordings(self, data_dir: Path) -> list[Path]:
        """All recordings in its folder below a data folder; if there are none, those of its names anywhere there."""
        in_its_folder = recordings(data_dir / self.name, self.suffixes)
        return in_its_folder or [path for path in recordings(data_dir, self.suffixes) if self.is_named(path)]

    def load(self, data_dir: Path, download: bool = True, unmapped: str = "drop", **options: Any) -> Dataset:
        """The clip table of the recordings that `recordings` finds, ordered by name.

        Args:
            download: download the corpus if it has a source and none of its recordings is there.
            unmapped: see `clip_table`.
            options: of `select`.

        Raises:
            CorpusError: see `ser_hf.corpora.load_corpus`.
        """
        folder = data_dir / self.name
        paths = self.recordings(data_dir)
        if not paths:
            obtain(self, folder, download)
            paths = recordings(folder, self.suffixes)
        if not paths:
            what = f"holds no recordings ({', '.join(self.suffixes)})" if folder.is_dir() else "is not there"
            raise CorpusError(f"{folder}: {what}; {self.how_to_get.format(folder=folder)}")
        found: dict[Clip, Path] = {}
        for path in paths:
            found.setdefault(self.parse(path), path)
        if len(found) < len(paths):
            n_copies = len(paths) - len(found)
            warnings.warn(f"{data_dir}: {n_copies} recordings have the name of another and were left out", stacklevel=3)
        check_headers(found.values())
        clips, expected = sorted(found), self.n_clips or self.n_recordings
        if self.select is not None:
            clips = self.select(clips, **options)
        if not clips:
            raise CorpusError(f"{folder}: holds no recording that {options or self.name} selects")
        if len(clips) < expected and not options:
            warnings.warn(f"{folder}: holds {len(clips)} of the {expected} clips of the official record", stacklevel=3)
        columns: dict[str, list[Any]] = {name: [getattr(clip, name) for clip in clips] for name in Clip._fields}
        columns["clip"] = [self.official_name(clip) for clip in clips]
        columns |= {"audio": [str(found[clip]) for clip in clips], "corpus": [self.name] * len(clips)}
        return clip_table({name: columns[name] for name in COLUMNS}, unmapped)


def _number(code: str) -> int:
    return int(code) if code.isdecimal() else ord(code) - ord("a") + 1


def clip_table(columns: Mapping[str, Sequence[Any]], unmapped: str = "drop") -> Dataset:
    """A clip table from its columns; `audio` holds paths, `emotion` names.

    Args:
        columns: each as long as the table, with None where a corpus does not say.
        unmapped: what becomes of clips whose emotion is not in `LABELS`: "drop" leaves them out with a warning, "keep"
            keeps them; then `emotion` has their names, too, after `LABELS`. The commands that train know only `LABELS`.

    Raises:
        CorpusError: another `unmapped`.
    """
    if unmapped not in ("drop", "keep"):
        raise CorpusError(f"unmapped must be 'drop' or 'keep', not {unmapped!r}")
    counts = Counter(emotion for emotion in columns["emotion"] if emotion not in LABEL2ID)
    labels = [*LABELS, *(sorted(counts) if unmapped == "keep" else ())]
    kept = [row for row, emotion in enumerate(columns["emotion"]) if emotion in labels]
    if len(kept) < len(columns["emotion"]):
        dropped = " and ".join(f"{n} clips of {emotion}" for emotion, n in sorted(counts.items()))
        warnings.warn(
            f"{columns['corpus'][0]}: {dropped} were left out, because no label corresponds to them "
            "(unmapped='keep' keeps them)",
            stacklevel=4,
        )
    columns = {name: [values[row] for row in kept] for name, values in columns.items()}
    features = Features({name: Value("string") for name in columns})
    features |= {"audio": Audio(decode=False), "emotion": ClassLabel(names=labels), "repetition": Value("int64")}
    columns |= {
        "audio": [{"path": path, "bytes": None} for path in columns["audio"]],
        "emotion": [labels.index(emotion) for emotion in columns["emotion"]],
    }
    # Through Arrow, because Dataset.from_dict encodes Audio features with torchcodec, which needs FFmpeg's libraries.
    return Dataset(pyarrow.Table.from_pydict(columns, schema=features.arrow_schema))
