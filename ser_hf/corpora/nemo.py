"""nEMO: nine Polish actors, six emotions (Christop 2024).

4481 clips, up to 90 sentences for each actor and emotion; MK0 has none of `surprised`. Names such as
samples/EB0_anger_1.wav: speaker, emotion, sentence. The first nine names of each speaker and emotion are taken, 477
clips, because the whole would outweigh the other corpora.
"""

from __future__ import annotations

from itertools import groupby, islice

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import Zip

RECORD = "https://github.com/amu-cai/nEMO"
SOURCE = Zip(f"{RECORD}/archive/66de9999a8f2f605eb5f64841790aa5cb0877782.zip")  # 0.5 GB
EMOTIONS = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}
GENDERS = dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), "female") | dict.fromkeys(
    ("KS0", "MP0", "SM0", "TP0", "WR0"), "male"
)


def select(clips: list[Clip]) -> list[Clip]:
    """The first nine clips of each speaker and label, by name as text (1, 10, 11, ...)."""
    groups = groupby(clips, key=lambda clip: (clip.speaker, clip.emotion))
    return [clip for _, group in groups for clip in islice(group, 9)]


CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    citation="I. Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024, pp. 12111-12116",
    record=RECORD,
    language="pl",
    licence="CC-BY-NC-SA-4.0",
    trainable=True,
    n_recordings=4481,
    n_clips=477,
    how_to_get=f"download {SOURCE.url} (free for non-commercial use) and put it, or its folder samples, "
    "into {folder}",
    source=SOURCE,
    file="samples/{clip}.wav",
    pattern=f"{one_of('speaker', GENDERS)}_{one_of('emotion', EMOTIONS)}_[1-9][0-9]?",
    names=f"speaker ({', '.join(GENDERS)}), emotion ({', '.join(EMOTIONS)}) and sentence, such as EB0_anger_1",
    emotions=EMOTIONS,
    genders=GENDERS,
    select=select,
)
