"""TESS, the Toronto emotional speech set: two women, seven emotions (Pichora-Fuller & Dupuis 2020).

2800 clips: 200 words in "Say the word ...", said by a woman of 64 (OAF) and one of 26 (YAF) in each emotion. Names such
as OAF_angry/OAF_back_angry.wav; "ps" is pleasant surprise. What copies of it do, and what becomes of it here:

- folders are spelt OAF_Fear or YAF_fear, OAF_Pleasant_surprise or YAF_pleasant_surprised: capitals and spelling are
  ignored, and the file name alone says what a clip is; a folder of another speaker or emotion is an error;
- one file is called OA_bite_neutral.wav: it is OAF's, and keeps its official name where a mirror has mended it;
- the copy on Kaggle holds itself again in a folder of the same name: copies are left out, with a warning;
- some files are not the wav of 24414 Hz that the others are (one is an AIFF by content, one has 96 kHz): they are read
  by content and resampled like any other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from ser_hf.corpora import CorpusError, clip_table
from ser_hf.corpora.dataverse import fetch_record
from ser_hf.corpora.download import DownloadError
from ser_hf.corpora.files import find_clips, is_vacant, warn_if_fewer
from ser_hf.labels import TESS_EMOTIONS

TITLE = "TESS"
CITATION = (
    "M. K. Pichora-Fuller and K. Dupuis, Toronto emotional speech set (TESS), Borealis, 2020, doi:10.5683/SP2/E8H2MF"
)
RECORD = "https://doi.org/10.5683/SP2/E8H2MF"  # also https://tspace.library.utoronto.ca/handle/1807/24487
LANGUAGE = "en"
LICENCE = "free for non-commercial use, on the terms of its record"
TRAINABLE = False  # its licence allows non-commercial training, but this project keeps it as a test corpus
HAS_CALM = False
FILE = "{clip}.wav"  # copies differ in their folders
SITE, DOI = "https://borealisdata.ca", "10.5683/SP2/E8H2MF"
N_CLIPS = 2800
SPEAKERS = ("OAF", "YAF")
EMOTIONS = "|".join(TESS_EMOTIONS)
IGNORE_CASE = re.IGNORECASE | re.ASCII  # the long s and the Kelvin sign are letters of other names
NAME = re.compile(rf"(OAF|YAF|OA)_([a-z]+)_({EMOTIONS})", IGNORE_CASE)
FOLDER = re.compile(rf"(OAF|YAF)_({EMOTIONS})", IGNORE_CASE)
MISNAMED = "OAF_bite_neutral"  # officially OA_bite_neutral


class ClipName(NamedTuple):
    """What an official name says: "OAF" or "YAF", the word, and the emotion with "ps" for pleasant surprise."""

    speaker: str
    word: str
    emotion: str

    def __str__(self) -> str:
        name = "_".join(self)
        return "OA_bite_neutral" if name == MISNAMED else name


def parse_name(path: str | Path) -> ClipName:
    """Read an official path such as OAF_angry/OAF_back_angry.wav; the folder may be any other but one of another clip.

    Raises:
        CorpusError: another name, or a folder that says something else.
    """
    path = Path(path)
    match = NAME.fullmatch(path.stem)
    if not match:
        raise CorpusError(
            f"{path}: not an official TESS name; expected OAF or YAF, a word and an emotion "
            f"({', '.join(TESS_EMOTIONS)}), such as OAF_back_angry"
        )
    speaker = "OAF" if match[1].upper() == "OA" else match[1].upper()
    folder = FOLDER.fullmatch(path.parent.name)
    if folder and (folder[1].upper(), _emotion(folder[2])) != (speaker, _emotion(match[3])):
        raise CorpusError(
            f"{path}: is {speaker} {_emotion(match[3])} by its name, but the folder is {path.parent.name}"
        )
    return ClipName(speaker, match[2].lower(), _emotion(match[3]))


def official_path(name: str) -> str:
    """Where a recording of the record lies: OAF_back_angry.wav -> OAF_angry/OAF_back_angry.wav."""
    clip = parse_name(name)
    return f"{clip.speaker}_{clip.emotion}/{clip}{Path(name).suffix.lower()}"


def _emotion(words: str) -> str:
    """The one spelling of an emotion's name."""
    return "ps" if TESS_EMOTIONS[words.lower()] == "surprised" else words.lower()


def load(data_dir: Path, download: bool = True, unmapped: str = "drop", site: str = SITE) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/tess, ordered by name.

    `intensity` and `repetition` are None.

    Args:
        unmapped: without effect, because all seven emotions have a counterpart (pleasant surprise: surprised).
        site: address of the Dataverse repository that holds the record.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "tess"
    by_hand = (
        f"download it from https://doi.org/{DOI} (free for non-commercial use, on the terms named there) "
        f"and put its folders, OAF_angry and so on, into {folder}"
    )
    if download and is_vacant(folder):
        try:
            fetch_record(site, DOI, folder, official_path, "TESS", N_CLIPS)
        except DownloadError as error:
            raise CorpusError(f"TESS could not be downloaded: {error}. Run again to go on, or {by_hand}") from None
    clips = sorted(find_clips(folder, parse_name, by_hand).items())
    warn_if_fewer(folder, len(clips), N_CLIPS)
    names = [name for name, _ in clips]
    return clip_table(
        {
            "clip": [str(name) for name in names],
            "audio": [str(path) for _, path in clips],
            "emotion": [TESS_EMOTIONS[name.emotion] for name in names],
            "speaker": [name.speaker for name in names],
            "gender": ["female"] * len(names),
            "statement": [f"Say the word {name.word}" for name in names],
            "intensity": [None] * len(names),
            "repetition": [None] * len(names),
            "corpus": ["tess"] * len(names),
        },
        unmapped,
    )
