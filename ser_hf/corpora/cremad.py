"""CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset: 91 actors, six emotions (Cao et al. 2014).

7442 clips: 12 sentences, of which IEO was said at three levels of each emotion but neutral. Names such as
AudioWAV/1001_IEO_ANG_HI.wav: actor, sentence, emotion, level (LO, MD, HI, XX: not specified). Sentences, levels and the
known faults are those of the official README; the 48 men and 43 women those of VideoDemographics.csv. Labels are what
actors were asked to express, not what listeners perceived.

- 1076_MTI_SAD_XX.wav holds no voice (README: "no audio, very short") and is left out, with a warning; the other faults
  that the README names are of the mp3 and flv files alone.
- 1040_ITH_SAD_X.wav has one X too few and keeps its official name where a mirror has corrected it.
"""

from __future__ import annotations

import warnings

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import GitLfs

RECORD = "https://github.com/CheyneyComputerScience/CREMA-D"
MIRROR = "https://gitlab.com/cs-cooper-lab/crema-d-mirror"  # by the record's author (issue 15 there)
EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
# fmt: off
WOMEN = (
    2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53, 54, 55, 56, 58, 60, 61,
    63, 72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91,
)
# fmt: on
GENDERS = {f"{1000 + number}": "female" if number in WOMEN else "male" for number in range(1, 92)}
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
WITHOUT_VOICE = "1076_MTI_SAD_XX"


def select(clips: list[Clip]) -> list[Clip]:
    """All clips but the one without a voice."""
    chosen = [clip for clip in clips if clip.clip != WITHOUT_VOICE]
    if len(chosen) < len(clips):
        warnings.warn(f"{WITHOUT_VOICE} holds no voice (as the official README says) and was left out", stacklevel=4)
    return chosen


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    citation="H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, CREMA-D: Crowd-sourced "
    "Emotional Multimodal Actors Dataset, IEEE Transactions on Affective Computing 5(4): 377-390, 2014, "
    "doi:10.1109/TAFFC.2014.2336244",
    record=RECORD,
    language="en",
    licence="ODbL-1.0",  # its contents under the Database Contents License 1.0
    trainable=True,
    n_recordings=7442,
    n_clips=7441,
    how_to_get=f"fetch it from {RECORD} (free; Open Database License): GIT_LFS_SKIP_SMUDGE=1 git clone --depth 1 "
    f'{RECORD} {{folder}} && git -C {{folder}} lfs pull --include "AudioWAV/*"; where GitHub says that its quota is '
    f"spent, take {MIRROR}",
    source=GitLfs(RECORD, "AudioWAV", MIRROR),
    file="AudioWAV/{clip}.wav",
    pattern=f"{one_of('speaker', GENDERS)}_{one_of('statement', STATEMENTS)}_{one_of('emotion', EMOTIONS)}_"
    "(?P<intensity>LO|MD|HI|XX)",
    names="actor (1001 to 1091), sentence, emotion and level (LO, MD, HI, XX), such as 1001_IEO_ANG_HI",
    emotions=EMOTIONS,
    genders=GENDERS,
    statements=STATEMENTS.get,
    intensities={"LO": "low", "MD": "medium", "HI": "high"},
    irregular={"1040_ITH_SAD_X": "1040_ITH_SAD_XX"},
    select=select,
)
