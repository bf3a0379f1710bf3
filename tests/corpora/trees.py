"""Small trees of synthetic clips with the official names and layouts of the corpora beside RAVDESS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import soundfile

from ser_hf.labels import CREMAD_EMOTIONS, EMODB_EMOTIONS, LABELS, SAVEE_EMOTIONS, TESS_EMOTIONS
from tests.synthetic import make_clip

EMODB_SPEAKERS = {"03": 3, "08": 8, "09": 2, "10": 1, "11": 11, "12": 5, "13": 6, "14": 14, "15": 15, "16": 16}


def write_clip(
    path: Path, emotion: str, speaker: int, take: int = 1, seconds: float = 0.5, rate: int = 16_000, **options
) -> Path:
    """One synthetic clip at a path; women have even numbers. Options go to soundfile, e.g. format="AIFF"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = make_clip(
        emotion if emotion in LABELS else "calm", speaker, repetition=take, seconds=seconds, sample_rate=rate
    )
    soundfile.write(path, sound, rate, subtype="PCM_16", **options)
    return path


def make_tess(
    folder: Path,
    words: Iterable[str] = ("back", "bite"),
    emotions: Iterable[str] = ("angry", "neutral", "ps"),
    **options,
) -> Path:
    """TESS below `folder`, with the spellings of the copy on Kaggle and the one misnamed file."""
    spelt = {"OAF": {"ps": "Pleasant_surprise", "fear": "Fear", "sad": "Sad"}, "YAF": {"ps": "pleasant_surprised"}}
    for number, speaker in ((2, "OAF"), (4, "YAF")):
        for emotion in emotions:
            for take, word in enumerate(words, start=1):
                name = f"{speaker}_{word}_{emotion}".replace("OAF_bite_neutral", "OA_bite_neutral")
                place = folder / f"{speaker}_{spelt[speaker].get(emotion, emotion)}"
                write_clip(place / f"{name}.wav", TESS_EMOTIONS[emotion], number, take, **options)
    return folder


def make_cremad(
    folder: Path,
    actors: Iterable[int] = (1001, 1002, 1003),
    sentences: Iterable[str] = ("DFA",),
    emotions: Iterable[str] = tuple(CREMAD_EMOTIONS),
    levels: Iterable[str] = ("XX",),
    **options,
) -> Path:
    """CREMA-D's AudioWAV below `folder`."""
    for actor in actors:
        for take, sentence in enumerate(sentences, start=1):
            for emotion in emotions:
                for level in levels:
                    path = folder / "AudioWAV" / f"{actor}_{sentence}_{emotion}_{level}.wav"
                    write_clip(path, CREMAD_EMOTIONS[emotion], actor, take, **options)
    return folder


def make_savee(folder: Path, sentences: Iterable[int] = (1,), flat: bool = False, **options) -> Path:
    """SAVEE below `folder`: AudioData/DC/a01.wav, or DC_a01.wav where it is flat."""
    for number, speaker in ((1, "DC"), (3, "JE"), (5, "JK"), (7, "KL")):
        for letters, emotion in SAVEE_EMOTIONS.items():
            for sentence in sentences:
                name = f"{letters}{sentence:02d}.wav"
                path = folder / f"{speaker}_{name}" if flat else folder / "AudioData" / speaker / name
                write_clip(path, emotion, number, sentence, **options)
    return folder


def make_emodb(
    folder: Path, texts: Iterable[str] = ("a01",), letters: Iterable[str] = tuple(EMODB_EMOTIONS), **options
) -> Path:
    """EmoDB's wav below `folder`, all ten speakers, version a."""
    for speaker, number in EMODB_SPEAKERS.items():
        for take, text in enumerate(texts, start=1):
            for letter in letters:
                path = folder / "wav" / f"{speaker}{text}{letter}a.wav"
                write_clip(path, EMODB_EMOTIONS[letter], number, take, **options)
    return folder
