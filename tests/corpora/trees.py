"""Small trees of synthetic clips with the official names and layouts of the corpora beside RAVDESS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import soundfile

from ser_hf.labels import CREMAD_EMOTIONS, EMODB_EMOTIONS, LABELS, SAVEE_EMOTIONS, TESS_EMOTIONS
from tests.synthetic import make_clip

# Official paths of the corpora that have no maker of their own here, and what each says: label, speaker, gender.
KOREAN = ("plain-to-emotional", "emotional-to-emotional")
OFFICIAL = {
    "emovo": {
        "EMOVO/f1/dis-f1-b1.wav": ("disgust", "f1", "female"),
        "EMOVO/f1/gio-f1-d2.wav": ("happy", "f1", "female"),
        "EMOVO/f3/neu-f3-l4.wav": ("neutral", "f3", "female"),
        "EMOVO/m1/pau-m1-n5.wav": ("fearful", "m1", "male"),
        "EMOVO/m2/rab-m2-b3.wav": ("angry", "m2", "male"),
        "EMOVO/m3/sor-m3-n1.wav": ("surprised", "m3", "male"),
        "EMOVO/m3/tri-m3-l1.wav": ("sad", "m3", "male"),
    },
    "nemo": {
        "samples/EB0_anger_1.wav": ("angry", "EB0", "female"),
        "samples/KS0_fear_90.wav": ("fearful", "KS0", "male"),
        "samples/MK0_happiness_10.wav": ("happy", "MK0", "female"),
        "samples/MP0_surprised_12.wav": ("surprised", "MP0", "male"),
        "samples/WR0_neutral_7.wav": ("neutral", "WR0", "male"),
        "samples/WR0_sadness_7.wav": ("sad", "WR0", "male"),
    },
    "ased": {
        "01Neutral/n1-06-01-01-01.wav": ("neutral", "01", "female"),
        "02Fearful/f2-07-02-02-21.wav": ("fearful", "21", "female"),  # a name with the wrong gender
        "03Happy/h3-07-02-02-64.wav": ("happy", "64", "male"),
        "04Sad/S4-06-02-01-29.wav": ("sad", "29", "female"),
        "05Angry/a5-06-02-02-65.wav": ("angry", "65", "male"),
    },
    "korean-emotion-tts": {
        f"{KOREAN[1]}/nea/wav/nea00001.wav": ("neutral", "nea", "female"),
        f"{KOREAN[0]}/ema/wav/ema00100.wav": ("neutral", "ema", "female"),
        f"{KOREAN[0]}/emf/wav/emf00101.wav": ("happy", "emf", "male"),
        f"{KOREAN[1]}/nek/wav/nek00300.wav": ("angry", "nek", "male"),
        f"{KOREAN[1]}/neo/wav/neo00301.wav": ("sad", "neo", "male"),
    },
    "emogator": {
        "data/mp3/000001-03-1.mp3": ("angry", "000001", None),
        "data/mp3/000001-13-1.mp3": ("happy", "000001", None),
        "data/mp3/000072-25-1.mp3": ("calm", "000072", None),
        "data/mp3/000072-27-1.mp3": ("surprised", "000072", None),
        "data/mp3/000072-28-1.mp3": ("surprised", "000072", None),
    },
}
EMODB_SPEAKERS = {"03": 3, "08": 8, "09": 2, "10": 1, "11": 11, "12": 5, "13": 6, "14": 14, "15": 15, "16": 16}


def write_clip(
    path: Path, emotion: str, speaker: int, take: int = 1, seconds: float = 0.5, rate: int = 16_000, **options
) -> Path:
    """One synthetic clip at a path; women have even numbers. Options go to soundfile, e.g. format="AIFF"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = make_clip(
        emotion if emotion in LABELS else "calm", speaker, repetition=take, seconds=seconds, sample_rate=rate
    )
    subtype = "MPEG_LAYER_III" if path.suffix == ".mp3" else "PCM_16"
    soundfile.write(path, sound, rate, subtype=subtype, **options)
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


def make_official(name: str, folder: Path, paths: Iterable[str] = (), **options) -> Path:
    """Clips below `folder` at paths of a corpus; without paths those of `OFFICIAL`."""
    for number, path in enumerate(paths or OFFICIAL[name], start=1):
        write_clip(folder / path, "neutral", number % 24 + 1, number, **options)
    return folder
