"""SAVEE, Surrey Audio-Visual Expressed Emotion: four men, seven emotions (Haq & Jackson 2010).

480 clips: of each speaker (DC, JE, JK, KL) 15 TIMIT sentences per emotion, three of them common to all, two of them
special to the emotion, and 30 neutral ones. AudioData/DC/a01.wav is the first angry sentence of speaker DC (Info.txt of
the record); mirrors without folders call it DC_a01.wav, and so do we, because a01 alone names four clips. Which words a
number stands for differs by emotion and is not stated in the names, so `statement` is None.
It requires registration, so it is never downloaded here.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ser_hf.corpora.corpus import Corpus, one_of

RECORD = "http://kahlan.eps.surrey.ac.uk/savee/"
EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
GENDERS = dict.fromkeys(("DC", "JE", "JK", "KL"), "male")


def read_name(path: PurePosixPath) -> str:
    """The name with its speaker, who is in the name or is the folder."""
    return path.stem if "_" in path.stem else f"{path.parent.name}_{path.stem}"


CORPUS = Corpus(
    name="savee",
    title="SAVEE",
    citation="S. Haq and P. J. B. Jackson, Multimodal Emotion Recognition, in W. Wang (ed.), Machine Audition, IGI "
    "Global, 2010, pp. 398-423",
    record=RECORD,
    language="en",
    licence="for research, after registration; not to be redistributed",
    trainable=False,  # nothing that is published may be trained on it
    n_recordings=480,
    how_to_get=f"register at {RECORD} (free for research), download the audio data and put the folder AudioData into "
    "{folder}",
    file="AudioData/{speaker}/{name}.wav",
    pattern=f"{one_of('speaker', GENDERS)}_{one_of('emotion', EMOTIONS)}(0[1-9]|1[0-5]|(?<=n)(1[6-9]|2[0-9]|30))",
    names="a speaker's folder, emotion and 01 to 15 (n: 01 to 30), such as DC/a01.wav or DC_a01.wav",
    emotions=EMOTIONS,
    genders=GENDERS,
    read_name=read_name,
)
