"""EmoGator: vocal bursts without words in 30 categories, nine of which map to our labels (Buhl 2023).

32130 clips: three takes of each category by each of 357 contributors. Names such as data/mp3/000001-03-1.mp3:
contributor, category, take. Take 1 of the first 72 contributors is used, 648 clips, because all 9639 of the mapped
categories would outweigh the speech. Elation is mapped to happy, serenity to calm.
"""

from __future__ import annotations

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import Zip
from ser_hf.corpora.files import WITH_MP3

RECORD = "https://github.com/fredbuhl/EmoGator"
SOURCE = Zip(f"{RECORD}/archive/51eeca515a95f168ab73391cd9e7c975ab964429.zip")  # 0.5 GB
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


def select(clips: list[Clip]) -> list[Clip]:
    """The first takes of the first 72 contributors."""
    return [clip for clip in clips if int(clip.speaker) <= 72 and clip.repetition == 1]


CORPUS = Corpus(
    name="emogator",
    title="EmoGator",
    citation="F. W. Buhl, EmoGator: A New Open Source Vocal Burst Dataset with Baseline Machine Learning "
    "Classification Methodologies, 2023, arXiv:2301.00508",
    record=RECORD,
    language="zxx",  # no linguistic content
    licence="Apache-2.0",
    trainable=True,
    n_recordings=32130,
    n_clips=648,
    how_to_get=f"download {SOURCE.url} (free) and put it, or its folder data, into {{folder}}",
    source=SOURCE,
    file="data/mp3/{clip}.mp3",
    pattern=f"{one_of('speaker', (f'{n:06d}' for n in range(1, 358)))}-{one_of('emotion', EMOTIONS)}-"
    "(?P<repetition>[1-3])",
    names="contributor (000001 to 000357), category (01 to 30) and take (1 to 3), such as 000001-03-1",
    emotions=EMOTIONS,
    suffixes=WITH_MP3,
    select=select,
)
