"""nEMO: nine Polish actors, six emotions (Christop 2024).

4481 clips, up to 90 sentences for each actor and emotion; MK0 has none of `surprised`. Names such as
samples/EB0_anger_1.wav: speaker, emotion, sentence. By default the first nine names of each speaker and emotion are
taken, 477 clips, because the whole would outweigh the other corpora.
"""

from __future__ import annotations

from collections import Counter

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import Zip

RECORD = "https://github.com/amu-cai/nEMO"
SOURCE = Zip(f"{RECORD}/archive/66de9999a8f2f605eb5f64841790aa5cb0877782.zip")  # 0.5 GB
N_RECORDINGS = 4481
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


def select(clips: list[Clip], per_label: int | None = 9) -> tuple[list[Clip], int]:
    """The first clips of each speaker and label by name as text (1, 10, 11, ...); None takes all."""
    if per_label is None:
        return clips, N_RECORDINGS
    counts: Counter[tuple[str, str]] = Counter()
    chosen = []
    for clip in clips:
        counts[clip.speaker, clip.emotion] += 1
        if counts[clip.speaker, clip.emotion] <= per_label:
            chosen.append(clip)
    return chosen, 477 if per_label == 9 else 0


CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    citation="I. Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024, pp. 12111-12116",
    record=RECORD,
    language="pl",
    licence="CC-BY-NC-SA-4.0",
    trainable=True,
    n_recordings=N_RECORDINGS,
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
