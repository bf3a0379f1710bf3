"""EmoGator: vocal bursts without words in 30 categories, nine of which map to our labels (Buhl 2023).

32130 clips: three takes of each category by each of 357 contributors. Names such as data/mp3/000001-03-1.mp3:
contributor, category, take. By default take 1 of the first 72 contributors is used, 648 clips, because all 9639 of the
mapped categories would outweigh the speech. Elation is mapped to happy, serenity to calm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from datasets import Dataset

from ser_hf.corpora import CorpusError
from ser_hf.corpora.archive import obtain
from ser_hf.corpora.download import fetch_stream
from ser_hf.corpora.files import WITH_MP3, Clip, find_clips, is_recording, table_of, warn_if_fewer

TITLE = "EmoGator"
CITATION = (
    "F. W. Buhl, EmoGator: A New Open Source Vocal Burst Dataset with Baseline Machine Learning Classification "
    "Methodologies, 2023, arXiv:2301.00508"
)
RECORD = "https://github.com/fredbuhl/EmoGator"
LANGUAGE = "zxx"  # no linguistic content
LICENCE = "Apache-2.0"
TRAINABLE = True
HAS_CALM = True
FILE = "data/mp3/{clip}.mp3"

URL = f"{RECORD}/archive/51eeca515a95f168ab73391cd9e7c975ab964429.zip"  # 0.5 GB
N_CLIPS = 32130
CONTRIBUTORS = 72  # of 357
TAKES = (1,)  # of 1 to 3
# fmt: off
CATEGORIES = (
    "adoration", "amusement", "anger", "awe", "confusion", "contempt", "contentment", "desire", "disappointment",
    "disgust", "distress", "ecstasy", "elation", "embarrassment", "fear", "guilt", "interest", "neutral", "pain",
    "pride", "realization", "relief", "romantic love", "sadness", "serenity", "shame", "surprise (negative)",
    "surprise (positive)", "sympathy", "triumph",
)
# fmt: on
COUNTERPARTS = {
    "anger": "angry",
    "disgust": "disgust",
    "elation": "happy",
    "fear": "fearful",
    "neutral": "neutral",
    "sadness": "sad",
    "serenity": "calm",
    "surprise (negative)": "surprised",
    "surprise (positive)": "surprised",
}
EMOTIONS = {f"{number:02d}": COUNTERPARTS.get(name, name) for number, name in enumerate(CATEGORIES, start=1)}
NAME = re.compile(rf"([0-9]{{6}})-({'|'.join(EMOTIONS)})-([1-3])")


def parse_name(path: str | Path | PurePosixPath) -> Clip:
    """Read an official file name such as 000001-03-1.mp3; `emotion` is the category where it has no counterpart.

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(PurePosixPath(path).stem)
    if not match or not 1 <= int(match[1]) <= 357:
        raise CorpusError(
            f"{path}: not an official EmoGator name; expected contributor (000001 to 000357), category (01 to 30) and "
            "take (1 to 3), such as 000001-03-1"
        )
    return Clip(match[0], EMOTIONS[match[2]], match[1], None, int(match[3]))


def load(
    data_dir: Path,
    download: bool = True,
    unmapped: str = "drop",
    contributors: int = CONTRIBUTORS,
    takes: Sequence[int] = TAKES,
    url: str = URL,
) -> Dataset:
    """The clip table of the mp3, wav or flac files below `data_dir`/emogator, ordered by name.

    `gender` is None, `repetition` the take.

    Args:
        unmapped: "drop" leaves out the 21 categories that have no counterpart, "keep" keeps them (see
            `ser_hf.corpora.clip_table`).
        contributors: take the clips of contributors 1 to this number; at most 357.
        takes: those of a contributor and category that are taken, from 1 to 3.
        url: of the zip, for a mirror.

    Raises:
        CorpusError: no clip is selected; else see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "emogator"
    by_hand = f"download {url} (free) and put it, or its folder data, into {folder}"
    obtain(folder, TITLE, N_CLIPS, _target_of, by_hand, partial(fetch_stream, url) if download else None)
    found = find_clips(folder, parse_name, by_hand, WITH_MP3).items()
    clips = [(clip, path) for clip, path in found if int(clip.speaker) <= contributors and clip.repetition in takes]
    if not clips:
        raise CorpusError(f"{folder}: holds no takes {list(takes)} of the first {contributors} contributors")
    mapped = sum(clip.emotion in COUNTERPARTS.values() for clip, _ in clips)
    warn_if_fewer(folder, mapped, contributors * len(takes) * len(COUNTERPARTS))
    return table_of("emogator", clips, unmapped)


def _target_of(member: PurePosixPath) -> str | None:
    return f"data/mp3/{parse_name(member).clip}{member.suffix.lower()}" if is_recording(member, WITH_MP3) else None
