"""CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset: 91 actors, six emotions (Cao et al. 2014).

7442 clips: 12 sentences, of which IEO was said at three levels of each emotion but neutral. Names such as
AudioWAV/1001_IEO_ANG_HI.wav: actor, sentence, emotion, level (LO, MD, HI, XX: not specified). Sentences, levels and the
known faults are those of the official README; the 48 men and 43 women those of VideoDemographics.csv
(https://github.com/CheyneyComputerScience/CREMA-D). Labels are what actors were asked for, not what listeners heard.

- 1076_MTI_SAD_XX.wav holds no voice (README: "no audio, very short") and is left out, with a warning; the other faults
  that the README names are of the mp3 and flv files alone.
- 1040_ITH_SAD_X.wav has one X too few and keeps its official name where a mirror has mended it.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from ser_hf.corpora import CorpusError, clip_table
from ser_hf.corpora.download import DownloadError
from ser_hf.corpora.files import find_clips, is_vacant, warn_if_fewer
from ser_hf.corpora.git_lfs import fetch_folder
from ser_hf.labels import CREMAD_EMOTIONS

TITLE = "CREMA-D"
CITATION = (
    "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, CREMA-D: Crowd-sourced Emotional "
    "Multimodal Actors Dataset, IEEE Transactions on Affective Computing 5(4): 377-390, 2014, "
    "doi:10.1109/TAFFC.2014.2336244"
)
RECORD = URL = "https://github.com/CheyneyComputerScience/CREMA-D"
LANGUAGE = "en"
LICENCE = "ODbL-1.0"  # its contents under the Database Contents License 1.0
TRAINABLE = True
HAS_CALM = False
FILE = "AudioWAV/{clip}.wav"
MIRROR = "https://gitlab.com/cs-cooper-lab/crema-d-mirror"  # by the record's author (issue 15 there)
FOLDER = "AudioWAV"
N_CLIPS = 7442
ACTORS = tuple(str(number) for number in range(1001, 1092))
# fmt: off
WOMEN = frozenset(str(1000 + number) for number in (
    2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53, 54, 55, 56, 58, 60, 61,
    63, 72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91,
))
# fmt: on
STATEMENTS = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
# The parts of an official name, in order, with the values each may have.
FIELDS = {
    "actor": ACTORS,
    "sentence": tuple(STATEMENTS),
    "emotion": tuple(CREMAD_EMOTIONS),
    "level": tuple(INTENSITIES),
}
MISNAMED = "1040_ITH_SAD_XX"  # officially 1040_ITH_SAD_X
WITHOUT_VOICE = ("1076_MTI_SAD_XX",)


class ClipName(NamedTuple):
    """The four parts of an official name, as in the name but for the one that lacks an X."""

    actor: str
    sentence: str
    emotion: str
    level: str

    def __str__(self) -> str:
        name = "_".join(self)
        return "1040_ITH_SAD_X" if name == MISNAMED else name


def parse_name(path: str | Path) -> ClipName:
    """Read an official file name such as 1001_IEO_ANG_HI.wav (folder and suffix may be there or not).

    Raises:
        CorpusError: names the file, the part and the value that are wrong.
    """
    values = re.sub(r"^1040_ITH_SAD_X$", MISNAMED, Path(path).stem).split("_")
    if len(values) != len(FIELDS):
        raise CorpusError(f"{path}: not an official CREMA-D name; expected {'_'.join(FIELDS)} such as 1001_IEO_ANG_HI")
    for (field, allowed), value in zip(FIELDS.items(), values, strict=True):
        if value not in allowed:
            shown = f"{allowed[0]} to {allowed[-1]}" if field == "actor" else ", ".join(allowed)
            raise CorpusError(f"{path}: {field} is {value!r}; expected {shown}")
    return ClipName(*values)


def load(
    data_dir: Path, download: bool = True, unmapped: str = "drop", url: str = URL, mirror: str = MIRROR
) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/cremad, ordered by name; 7441 when it is whole.

    `intensity` is "low", "medium", "high" or None (not specified), `repetition` None.

    Args:
        download: takes git and git-lfs (see `ser_hf.corpora.git_lfs`).
        unmapped: without effect, because all six emotions have a counterpart.
        url: of the official repository.
        mirror: of its large files.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "cremad"
    by_hand = (
        f"fetch it from {URL} (free; Open Database License): GIT_LFS_SKIP_SMUDGE=1 git clone --depth 1 {URL} {folder} "
        f'&& git -C {folder} lfs pull --include "{FOLDER}/*"; where GitHub says that its quota is spent, take {MIRROR}'
    )
    if download and is_vacant(folder):
        try:
            fetch_folder(url, [mirror], FOLDER, folder, "CREMA-D", N_CLIPS)
        except DownloadError as error:
            raise CorpusError(f"CREMA-D could not be downloaded: {error}. Run again to go on, or {by_hand}") from None
    clips = sorted(find_clips(folder, parse_name, by_hand).items())
    warn_if_fewer(folder, len(clips), N_CLIPS)
    silent = [path for name, path in clips if str(name) in WITHOUT_VOICE]
    if silent:
        warnings.warn(f"{silent[0]}: holds no voice (as the official README says) and was left out", stacklevel=3)
    clips = [(name, path) for name, path in clips if str(name) not in WITHOUT_VOICE]
    names = [name for name, _ in clips]
    return clip_table(
        {
            "clip": [str(name) for name in names],
            "audio": [str(path) for _, path in clips],
            "emotion": [CREMAD_EMOTIONS[name.emotion] for name in names],
            "speaker": [name.actor for name in names],
            "gender": ["female" if name.actor in WOMEN else "male" for name in names],
            "statement": [STATEMENTS[name.sentence] for name in names],
            "intensity": [INTENSITIES[name.level] for name in names],
            "repetition": [None] * len(names),
            "corpus": ["cremad"] * len(names),
        },
        unmapped,
    )
