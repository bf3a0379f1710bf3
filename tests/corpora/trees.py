"""Small trees of synthetic clips with the official names and layouts of the corpora."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import soundfile

from ser_hf.corpora import corpus_facts
from ser_hf.labels import LABELS
from tests.synthetic import make_clip

# Some official paths of each corpus, and what each says: label, speaker, gender.
KOREAN = ("plain-to-emotional", "emotional-to-emotional")
OFFICIAL = {
    "ravdess": {
        "Actor_01/03-01-01-01-02-01-01.wav": ("neutral", "01", "male"),
        "Actor_12/03-01-06-02-01-02-12.wav": ("fearful", "12", "female"),
        "Actor_24/03-01-02-01-01-01-24.wav": ("calm", "24", "female"),
    },
    "tess": {
        "OAF_Fear/OAF_back_fear.wav": ("fearful", "OAF", "female"),
        "OAF_neutral/OA_bite_neutral.wav": ("neutral", "OAF", "female"),
        "OAF_Pleasant_surprise/OAF_food_ps.wav": ("surprised", "OAF", "female"),
        "YAF_angry/YAF_back_angry.wav": ("angry", "YAF", "female"),
    },
    "cremad": {
        "AudioWAV/1001_IEO_ANG_HI.wav": ("angry", "1001", "male"),
        "AudioWAV/1002_DFA_DIS_XX.wav": ("disgust", "1002", "female"),
        "AudioWAV/1040_ITH_SAD_X.wav": ("sad", "1040", "male"),
        "AudioWAV/1091_WSI_NEU_LO.wav": ("neutral", "1091", "female"),
    },
    "savee": {
        "AudioData/DC/a01.wav": ("angry", "DC", "male"),
        "AudioData/JE/n30.wav": ("neutral", "JE", "male"),
        "AudioData/KL/sa15.wav": ("sad", "KL", "male"),
        "AudioData/KL/su01.wav": ("surprised", "KL", "male"),
    },
    "emodb": {
        "wav/03a01Fa.wav": ("happy", "03", "male"),
        "wav/08b02La.wav": ("boredom", "08", "female"),
        "wav/16b10Tc.wav": ("sad", "16", "female"),
    },
    "emovo": {
        "EMOVO/f1/dis-f1-b1.wav": ("disgust", "f1", "female"),
        "EMOVO/f3/neu-f3-l4.wav": ("neutral", "f3", "female"),
        "EMOVO/m1/pau-m1-n5.wav": ("fearful", "m1", "male"),
        "EMOVO/m3/tri-m3-d1.wav": ("sad", "m3", "male"),
    },
    "nemo": {
        "samples/EB0_anger_1.wav": ("angry", "EB0", "female"),
        "samples/KS0_fear_90.wav": ("fearful", "KS0", "male"),
        "samples/MK0_happiness_10.wav": ("happy", "MK0", "female"),
        "samples/WR0_sadness_7.wav": ("sad", "WR0", "male"),
    },
    "ased": {
        "01Neutral/n1-06-01-01-01.wav": ("neutral", "01", "female"),
        "02Fearful/f2-07-02-02-21.wav": ("fearful", "21", "female"),  # a name with the wrong gender
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
    },
}
# Numbers of synthetic voices; women have even numbers, and other speakers the number in their names.
VOICES = {"OAF": 2, "YAF": 4, "DC": 1, "JE": 3, "JK": 5, "KL": 7, "09": 2, "10": 1, "12": 5, "13": 6}


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


def make_corpus(name: str, folder: Path, paths: Iterable[str] = (), **options) -> Path:
    """Clips below `folder` at official paths of a corpus; by default those of `OFFICIAL`."""
    corpus, takes = corpus_facts(name), Counter()
    for path in paths or OFFICIAL[name]:
        clip = corpus.parse(path)
        takes[clip.emotion, clip.speaker] += 1
        digits = "".join(filter(str.isdecimal, clip.speaker))
        voice = VOICES.get(clip.speaker) or int(digits or len(takes))
        write_clip(folder / path, clip.emotion, voice, takes[clip.emotion, clip.speaker], **options)
    return folder


def make_tess(
    folder: Path,
    words: Iterable[str] = ("back", "bite"),
    emotions: Iterable[str] = ("angry", "neutral", "ps"),
    **options,
) -> Path:
    """TESS below `folder`, with the one misnamed file."""
    paths = [f"{who}_{e}/{who}_{word}_{e}.wav" for who, e, word in product(("OAF", "YAF"), emotions, words)]
    return make_corpus(
        "tess", folder, [path.replace("OAF_bite_neutral", "OA_bite_neutral") for path in paths], **options
    )


def make_cremad(
    folder: Path,
    actors: Iterable[int] = (1001, 1002, 1003),
    sentences: Iterable[str] = ("DFA",),
    emotions: Iterable[str] = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"),
    levels: Iterable[str] = ("XX",),
    **options,
) -> Path:
    """CREMA-D's AudioWAV below `folder`."""
    names = product(map(str, actors), sentences, emotions, levels)
    return make_corpus("cremad", folder, [f"AudioWAV/{'_'.join(name)}.wav" for name in names], **options)


def make_savee(folder: Path, sentences: Iterable[int] = (1,), **options) -> Path:
    """SAVEE's AudioData below `folder`."""
    names = product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su"), sentences)
    return make_corpus("savee", folder, [f"AudioData/{who}/{e}{number:02d}.wav" for who, e, number in names], **options)


def make_emodb(folder: Path, texts: Iterable[str] = ("a01",), letters: Iterable[str] = "WLEAFTN", **options) -> Path:
    """EmoDB's wav below `folder`, all ten speakers, version a."""
    names = product(sorted(corpus_facts("emodb").genders), texts, letters, "a")
    return make_corpus("emodb", folder, [f"wav/{''.join(name)}.wav" for name in names], **options)
