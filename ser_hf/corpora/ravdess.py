"""RAVDESS speech: 24 actors, eight emotions (Livingstone & Russo 2018).

1440 clips, 60 per actor; odd actors are men, even are women. Names such as Actor_12/03-01-06-02-01-01-12.wav: modality
(03: audio only), channel (01: speech), emotion, intensity, statement, repetition, actor. Two clips,
03-01-03-01-02-01-07 and 03-01-03-01-02-02-07, are the same bytes in the official record; they are left as they are, as
all published figures have them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from ser_hf.corpora.corpus import Clip, Corpus, one_of
from ser_hf.corpora.download import Zip
from ser_hf.labels import LABELS

RECORD = "https://zenodo.org/records/1188976"
ZIP_NAME = "Audio_Speech_Actors_01-24.zip"
EMOTIONS = {f"{number:02d}": label for number, label in enumerate(LABELS, start=1)}
GENDERS = {f"{actor:02d}": "male" if actor % 2 else "female" for actor in range(1, 25)}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
INTENSITIES = {"01": "normal", "02": "strong"}


def select(clips: list[Clip], actors: Iterable[int] = range(1, 25)) -> list[Clip]:
    """The audio-only speech clips of some actors (default: all), ordered by actor."""
    speech = [clip for clip in clips if clip.clip.startswith("03-01-")]
    if len(speech) < len(clips):
        warnings.warn(f"ravdess: {len(clips) - len(speech)} recordings of song or video were left out", stacklevel=4)
    wanted = {f"{int(actor):02d}" for actor in actors}
    return sorted((clip for clip in speech if clip.speaker in wanted), key=lambda clip: clip.speaker)


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS",
    citation="S. R. Livingstone and F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song "
    "(RAVDESS), PLOS ONE 13(5): e0196391, 2018, doi:10.1371/journal.pone.0196391",
    record=RECORD,
    language="en",
    licence="CC-BY-NC-SA-4.0",
    trainable=True,
    n_recordings=1440,
    how_to_get=f"download {ZIP_NAME} from {RECORD} (free for non-commercial use) and put it, or its folders Actor_01 "
    "to Actor_24, into {folder}",
    source=Zip(f"{RECORD}/files/{ZIP_NAME}?download=1", "bc696df654c87fed845eb13823edef8a", 208_468_073),
    file="Actor_{speaker}/{clip}.wav",
    # Neutral (01) is never strong (02).
    pattern=f"0[1-3]-0[12]-(?!01-02){one_of('emotion', EMOTIONS)}-{one_of('intensity', INTENSITIES)}-"
    f"{one_of('statement', STATEMENTS)}-(?P<repetition>0[12])-{one_of('speaker', GENDERS)}",
    names="modality, channel, emotion (01 to 08), intensity (neutral: 01), statement, repetition and actor, such as "
    "03-01-06-02-01-01-12",
    emotions=EMOTIONS,
    genders=GENDERS,
    statements=STATEMENTS.get,
    intensities=INTENSITIES,
    select=select,
)
