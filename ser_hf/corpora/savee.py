"""SAVEE, Surrey Audio-Visual Expressed Emotion: four men, seven emotions (Haq & Jackson 2010).

480 clips: of each speaker (DC, JE, JK, KL) 15 TIMIT sentences an emotion, three of them common to all, two of them
special to the emotion, and 30 neutral ones. AudioData/DC/a01.wav is the first angry sentence of speaker DC (Info.txt of
the record); mirrors without folders call it DC_a01.wav, and so do we, because a01 alone names four clips. Which words a
number stands for differs by emotion and is not told in the names, so `statement` is None.
It asks for registration, so it is never downloaded here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from ser_hf.corpora import CorpusError, clip_table
from ser_hf.corpora.files import find_clips, warn_if_fewer
from ser_hf.labels import SAVEE_EMOTIONS

TITLE = "SAVEE"
CITATION = (
    "S. Haq and P. J. B. Jackson, Multimodal Emotion Recognition, in W. Wang (ed.), Machine Audition, IGI Global, "
    "2010, pp. 398-423"
)
RECORD = "http://kahlan.eps.surrey.ac.uk/savee/"
LANGUAGE = "en"
LICENCE = "for research, after registration; not to be redistributed"
TRAINABLE = False  # nothing that is published may be trained on it
HAS_CALM = False
FILE = "AudioData/{speaker}/{name}.wav"
N_CLIPS = 480
SPEAKERS = ("DC", "JE", "JK", "KL")
N_SENTENCES = {letters: 30 if letters == "n" else 15 for letters in SAVEE_EMOTIONS}
NAME = re.compile(rf"(?:({'|'.join(SPEAKERS)})_)?(sa|su|a|d|f|h|n)([0-9]{{2}})")


class ClipName(NamedTuple):
    """The parts of an official name, as in the name; the speaker is that of the folder."""

    speaker: str
    letters: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.speaker}_{self.letters}{self.sentence}"


def parse_name(path: str | Path) -> ClipName:
    """Read an official path such as DC/a01.wav, or DC_a01.wav.

    Raises:
        CorpusError: another name, or no speaker in it.
    """
    path = Path(path)
    match = NAME.fullmatch(path.stem)
    if not match or not 1 <= int(match[3]) <= N_SENTENCES[match[2]]:
        raise CorpusError(
            f"{path}: not an official SAVEE name; expected {', '.join(SAVEE_EMOTIONS)} and 01 to 15 (n: 01 to 30), "
            "such as DC/a01.wav or DC_a01.wav"
        )
    speaker = match[1] or path.parent.name
    if speaker not in SPEAKERS:
        raise CorpusError(f"{path}: the folder must be a speaker ({', '.join(SPEAKERS)}), as in DC/a01.wav")
    return ClipName(speaker, match[2], match[3])


def load(data_dir: Path, download: bool = True, unmapped: str = "drop") -> Dataset:
    """The clip table of the wav or flac files below `data_dir`/savee, ordered by speaker, then name.

    `statement`, `intensity` and `repetition` are None.

    Args:
        download: without effect, because the corpus asks for registration.
        unmapped: without effect, because all seven emotions have a counterpart.

    Raises:
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    folder = data_dir / "savee"
    by_hand = (
        f"register at {RECORD} (free for research), download the audio data and put the folder AudioData into {folder}"
    )
    clips = sorted(find_clips(folder, parse_name, by_hand).items())
    warn_if_fewer(folder, len(clips), N_CLIPS)
    names = [name for name, _ in clips]
    return clip_table(
        {
            "clip": [str(name) for name in names],
            "audio": [str(path) for _, path in clips],
            "emotion": [SAVEE_EMOTIONS[name.letters] for name in names],
            "speaker": [name.speaker for name in names],
            "gender": ["male"] * len(names),
            "statement": [None] * len(names),
            "intensity": [None] * len(names),
            "repetition": [None] * len(names),
            "corpus": ["savee"] * len(names),
        },
        unmapped,
    )
