"""KAIST and Selvas AI emotional speech for synthesis, public part: 15 Korean speakers, four emotions.

300 clips, five of each speaker and emotion. Names such as emotional-to-emotional/nea/wav/nea00001.wav: speaker and
number; numbers 1 to 100 are neutral, 101 to 200 joy, 201 to 300 anger, 301 to 400 sadness. Speakers em* read neutral
texts in every emotion (plain-to-emotional); speakers ne* read texts that match it (emotional-to-emotional).
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

TITLE = "KAIST/Selvas emotional TTS"
CITATION = (
    "KAIST and Selvas AI, emotiontts_open_db: open speech corpora for emotional and personal speech synthesis, "
    "https://github.com/emotiontts/emotiontts_open_db"
)
RECORD = "https://github.com/emotiontts/emotiontts_open_db"
LANGUAGE = "ko"
LICENCE = "CC-BY-NC-SA-4.0"  # and its README: for research, not commercial use
TRAINABLE = True
HAS_CALM = False
FILE = "{clip}.wav"  # in a folder per speaker

URL = f"{RECORD}/archive/5c8ccc80cb11e8de113c25f9ad019dc5d3a8e47b.zip"  # 0.3 GB, with other corpora
N_CLIPS = 300
EMOTIONS = ("neutral", "happy", "angry", "sad")  # by hundreds of the number
GENDERS = dict.fromkeys(("ema", "emb", "nea", "neb", "nec", "ned", "nee"), "female") | dict.fromkeys(
    ("emf", "emg", "emh", "nek", "nel", "nem", "nen", "neo"), "male"
)
NAME = re.compile(rf"({'|'.join(GENDERS)})([0-9]{{5}})")


def parse_name(path: str | Path | PurePosixPath) -> Clip:
    """Read an official file name such as nea00001.wav.

    Raises:
        CorpusError: another name.
    """
    match = NAME.fullmatch(PurePosixPath(path).stem)
    if not match or not 1 <= int(match[2]) <= 100 * len(EMOTIONS):
        raise CorpusError(
            f"{path}: not an official name; expected speaker ({', '.join(GENDERS)}) and number (00001 to 00400), such "
            "as nea00001"
        )
    return Clip(match[0], EMOTIONS[(int(match[2]) - 1) // 100], match[1], GENDERS[match[1]])


def load(data_dir: Path, download: bool = True, unmapped: str = "drop", url: str = URL) -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/korean-emotion-tts, ordered by name.

    Args:
        unmapped: without effect, because all four emotions have a counterpart.
        url: of the zip, for a mirror.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "korean-emotion-tts"
    by_hand = (
        f"download {url} (free for research) and put it, or the two folders in its Dataset/SpeechCorpus/Emotional, "
        f"into {folder}"
    )
    obtain(folder, TITLE, N_CLIPS, _target_of, by_hand, partial(fetch_stream, url) if download else None)
    clips = find_clips(folder, parse_name, by_hand)
    warn_if_fewer(folder, len(clips), N_CLIPS)
    return table_of("korean-emotion-tts", clips.items(), unmapped)


def _target_of(member: PurePosixPath) -> str | None:
    """Where a member of the zip goes; None for the corpora of other kinds that it holds, too."""
    if not is_recording(member) or "Emotional" not in member.parts:
        return None
    clip = parse_name(member)
    script = "plain" if clip.speaker.startswith("em") else "emotional"
    return f"{script}-to-emotional/{clip.speaker}/wav/{clip.clip}{member.suffix.lower()}"
