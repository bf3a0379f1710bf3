"""ASED, Amharic Speech Emotion Dataset, version 1: 65 speakers, five emotions (Retta et al. 2022).

2474 clips. Names such as 01Neutral/n1-06-01-01-01.wav: emotion and folder, sentence, repetition, gender, speaker.
Sentences 01 to 05 differ by emotion, so their words give it away; 06 and 07 are common to all emotions, and alone are
taken by default: 738 clips of 37 speakers.

- Four clips are byte for byte the other repetition and are left out.
- Five names have the wrong gender for their speaker; `gender` is that of the speaker's other names.
- One name begins with a capital: S4-04-02-01-29.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath

from datasets import Dataset

from ser_hf.corpora import CorpusError
from ser_hf.corpora.archive import obtain
from ser_hf.corpora.download import fetch_stream
from ser_hf.corpora.files import Clip, find_clips, is_recording, table_of, warn_if_fewer

TITLE = "ASED"
CITATION = (
    "E. A. Retta, E. Almekhlafi, R. Sutcliffe, M. Mhamed, H. Ali and J. Feng, A New Amharic Speech Emotion Dataset and "
    "Classification Benchmark, ACM Transactions on Asian and Low-Resource Language Information Processing, 2022, "
    "doi:10.1145/3529759"
)
RECORD = "https://github.com/Ethio2021/ASED_V1"
LANGUAGE = "am"
LICENCE = "none stated; freely available by its paper"
TRAINABLE = True
HAS_CALM = False
FILE = "{clip}.wav"  # in a folder per emotion

URL = f"{RECORD}/archive/30fee0345cbd37e12dd725fbe69f90522cffb046.zip"  # 0.2 GB
N_CLIPS = 2474
SENTENCES = {"common": 738, "all": 2470}  # clips without the copies
COMMON = ("06", "07")
EMOTIONS = {"n1": "neutral", "f2": "fearful", "h3": "happy", "s4": "sad", "a5": "angry"}
FOLDERS = {"n1": "01Neutral", "f2": "02Fearful", "h3": "03Happy", "s4": "04Sad", "a5": "05Angry"}
COPIES = ("n1-07-02-02-53", "h3-01-02-02-08", "s4-03-02-01-23", "a5-07-02-02-63")
# fmt: off
WOMEN = frozenset(f"{number:02d}" for number in (
    1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 43, 47, 48, 49, 58, 62,
))
# fmt: on
NAME = re.compile(rf"({'|'.join(EMOTIONS)})-(0[1-7])-(0[12])-0[12]-([0-9]{{2}})", re.IGNORECASE | re.ASCII)


def parse_name(path: str | Path | PurePosixPath) -> Clip:
    """Read an official file name such as n1-06-01-01-01.wav.

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(PurePosixPath(path).stem)
    if not match or not 1 <= int(match[4]) <= 65:
        raise CorpusError(
            f"{path}: not an official ASED name; expected emotion ({', '.join(EMOTIONS)}), sentence (01 to 07), "
            "repetition (01, 02), gender (01, 02) and speaker (01 to 65), such as n1-06-01-01-01"
        )
    gender = "female" if match[4] in WOMEN else "male"
    return Clip(match[0], EMOTIONS[match[1].lower()], match[4], gender, int(match[3]))


def load(
    data_dir: Path,
    download: bool = True,
    unmapped: str = "drop",
    sentences: str = "common",
    url: str = URL,
) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/ased, ordered by name.

    Args:
        unmapped: without effect, because all five emotions have a counterpart.
        sentences: "common" takes the two that occur in all emotions, "all" takes all seven of each.
        url: of the zip, for a mirror.

    Raises:
        CorpusError: another `sentences`; else see `ser_hf.corpora.load_corpus`.
    """
    if sentences not in SENTENCES:
        raise CorpusError(f"sentences must be {' or '.join(map(repr, SENTENCES))}, not {sentences!r}")
    folder = data_dir / "ased"
    by_hand = f"download {url} (free) and put it, or its folders {', '.join(FOLDERS.values())}, into {folder}"
    obtain(folder, TITLE, N_CLIPS, _target_of, by_hand, partial(fetch_stream, url) if download else None)
    found = find_clips(folder, parse_name, by_hand).items()
    clips = [(clip, path) for clip, path in found if clip.clip not in COPIES]
    if sentences == "common":
        clips = [(clip, path) for clip, path in clips if clip.clip[3:5] in COMMON]
    warn_if_fewer(folder, len(clips), SENTENCES[sentences])
    return table_of("ased", clips, unmapped)


def _target_of(member: PurePosixPath) -> str | None:
    if not is_recording(member):
        return None
    name = parse_name(member).clip
    return f"{FOLDERS[name[:2].lower()]}/{name}{member.suffix.lower()}"
