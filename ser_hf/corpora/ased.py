"""ASED, Amharic Speech Emotion Dataset, version 1: 65 speakers, five emotions (Retta et al. 2022).

2474 clips. Names such as 01Neutral/n1-06-01-01-01.wav: emotion and folder, sentence, repetition, gender, speaker.
Sentences 01 to 05 differ by emotion, so their words give it away; 06 and 07 are common to all emotions, and only these
are taken: 738 clips of 37 speakers.

- Four clips are byte for byte the other repetition and are left out.
- Five names have the wrong gender for their speaker; `gender` is that of the speaker's other names.
- One name begins with a capital: S4-04-02-01-29.
"""

from __future__ import annotations

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import Zip

RECORD = "https://github.com/Ethio2021/ASED_V1"
SOURCE = Zip(f"{RECORD}/archive/30fee0345cbd37e12dd725fbe69f90522cffb046.zip")  # 0.2 GB
EMOTIONS = {"n1": "neutral", "f2": "fearful", "h3": "happy", "s4": "sad", "S4": "sad", "a5": "angry"}
# fmt: off
WOMEN = (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 43, 47, 48, 49, 58, 62)
# fmt: on
GENDERS = {f"{number:02d}": "female" if number in WOMEN else "male" for number in range(1, 66)}
COPIES = ("n1-07-02-02-53", "h3-01-02-02-08", "s4-03-02-01-23", "a5-07-02-02-63")


def select(clips: list[Clip]) -> list[Clip]:
    """The clips of the sentences that occur in all emotions."""
    return [clip for clip in clips if clip.clip[3:5] in ("06", "07") and clip.clip not in COPIES]


CORPUS = Corpus(
    name="ased",
    title="ASED",
    citation="E. A. Retta, E. Almekhlafi, R. Sutcliffe, M. Mhamed, H. Ali and J. Feng, A New Amharic Speech Emotion "
    "Dataset and Classification Benchmark, ACM Transactions on Asian and Low-Resource Language Information "
    "Processing, 2022, doi:10.1145/3529759",
    record=RECORD,
    language="am",
    licence="none stated; freely available by its paper",
    trainable=True,
    n_recordings=2474,
    n_clips=738,
    how_to_get=f"download {SOURCE.url} (free) and put it, or its folders 01Neutral to 05Angry, into {{folder}}",
    source=SOURCE,
    file="{clip}.wav",  # in a folder per emotion
    pattern=f"{one_of('emotion', EMOTIONS)}-0[1-7]-(?P<repetition>0[12])-0[12]-{one_of('speaker', GENDERS)}",
    names="emotion, sentence, repetition, gender (01, 02) and speaker, such as n1-06-01-01-01",
    emotions=EMOTIONS,
    genders=GENDERS,
    select=select,
)
