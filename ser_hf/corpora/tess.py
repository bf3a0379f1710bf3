"""TESS, the Toronto emotional speech set: two women, seven emotions (Pichora-Fuller & Dupuis 2020).

2800 clips: 200 words in "Say the word ...", said by a woman of 64 (OAF) and one of 26 (YAF) in each emotion. Names such
as OAF_back_angry.wav; "ps" is pleasant surprise. What is irregular in its copies:

- names are spelt in capitals or not, and "ps" in three ways: both are ignored, and so are folders;
- OA_bite_neutral.wav is of OAF, and keeps its official name where a mirror has corrected it;
- the copy on Kaggle holds itself again in a folder of the same name: copies are left out, with a warning;
- some files are not wav of 24414 Hz (one is an AIFF by content, one has 96 kHz): they are read by content.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from ser_hf.corpora.corpus import Corpus, one_of
from ser_hf.corpora.download import Dataverse

DOI = "10.5683/SP2/E8H2MF"
RECORD = f"https://doi.org/{DOI}"  # also https://tspace.library.utoronto.ca/handle/1807/24487
EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # pleasant surprise
    "sad": "sad",
}


def read_name(path: PurePosixPath) -> str:
    """The name in the official spelling."""
    speaker, _, rest = path.stem.partition("_")
    word, _, emotion = rest.lower().partition("_")
    emotion = "ps" if emotion in ("pleasant_surprise", "pleasant_surprised") else emotion
    return f"{speaker.upper()}_{word}_{emotion}"


CORPUS = Corpus(
    name="tess",
    title="TESS",
    citation=f"M. K. Pichora-Fuller and K. Dupuis, Toronto emotional speech set (TESS), Borealis, 2020, doi:{DOI}",
    record=RECORD,
    language="en",
    licence="free for non-commercial use, on the terms of its record",
    trainable=False,  # its licence allows non-commercial training, but this project keeps it as a test corpus
    n_recordings=2800,
    how_to_get=f"download it from {RECORD} (free for non-commercial use, on the terms named there) and put its "
    "folders, OAF_angry and so on, into {folder}",
    source=Dataverse("https://borealisdata.ca", DOI),
    file="{clip}.wav",  # copies differ in their folders
    pattern=f"(?P<speaker>OAF|YAF)_(?P<statement>[a-z]+)_{one_of('emotion', EMOTIONS)}",
    names=f"OAF or YAF, a word and an emotion ({', '.join(EMOTIONS)}), such as OAF_back_angry",
    emotions=EMOTIONS,
    genders={"OAF": "female", "YAF": "female"},
    statements="Say the word {}".format,
    read_name=read_name,
    irregular={"OA_bite_neutral": "OAF_bite_neutral"},
)
