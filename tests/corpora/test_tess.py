"""TESS: its names and the quirks of its copies."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
import soundfile

from ser_hf.audio import load_audio
from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora.tess import parse_name
from ser_hf.labels import LABELS, TESS_EMOTIONS
from tests.corpora.trees import make_tess, write_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")


@pytest.fixture
def folder(tmp_path):
    return make_tess(tmp_path / "tess")


def by_clip(data_dir) -> dict:
    table = load_corpus("tess", data_dir)
    return {row["clip"]: row for row in table}


def test_rows(folder, tmp_path):
    rows = by_clip(tmp_path)
    assert len(rows) == 2 * 3 * 2
    assert rows["OAF_back_angry"] == {
        "clip": "OAF_back_angry",
        "audio": {"path": str(folder / "OAF_angry/OAF_back_angry.wav"), "bytes": None},
        "emotion": LABELS.index("angry"),
        "speaker": "OAF",
        "gender": "female",
        "statement": "Say the word back",
        "intensity": None,
        "repetition": None,
        "corpus": "tess",
    }
    assert rows["YAF_bite_ps"]["emotion"] == LABELS.index("surprised")


def test_all_seven_emotions_in_every_spelling(tmp_path):
    make_tess(tmp_path / "tess", words=("a",), emotions=("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"))
    counts = Counter(LABELS[row["emotion"]] for row in by_clip(tmp_path).values())
    assert counts == {label: 2 for label in LABELS if label != "calm"}
    assert {folder.name for folder in (tmp_path / "tess").iterdir()} >= {
        "OAF_Fear",
        "YAF_fear",
        "OAF_Pleasant_surprise",
    }


@pytest.mark.parametrize("words", [word for word, label in TESS_EMOTIONS.items() if label == "surprised"])
@pytest.mark.parametrize("spell", [str, str.upper, str.capitalize])
def test_pleasant_surprise_however_spelt(words, spell):
    assert str(parse_name(f"YAF_{spell(words)}/YAF_food_{spell(words)}.wav")) == "YAF_food_ps"


def test_the_misnamed_file_is_of_the_older_woman(folder, tmp_path):
    official = by_clip(tmp_path)["OA_bite_neutral"]
    assert (official["speaker"], official["statement"]) == ("OAF", "Say the word bite")
    (folder / "OAF_neutral/OA_bite_neutral.wav").rename(folder / "OAF_neutral/OAF_bite_neutral.wav")
    mended = by_clip(tmp_path)["OA_bite_neutral"]
    assert {**mended, "audio": None} == {**official, "audio": None}


def test_an_aiff_under_a_wav_name_and_another_rate_are_read(folder, tmp_path):
    aiff, fast = folder / "YAF_angry/YAF_germ_angry.wav", folder / "YAF_angry/YAF_neat_angry.wav"
    write_clip(aiff, "angry", 4, format="AIFF")
    write_clip(fast, "angry", 4, rate=96_000)
    assert (soundfile.info(aiff).format, soundfile.info(fast).samplerate) == ("AIFF", 96_000)
    rows = by_clip(tmp_path)
    for clip in ("YAF_germ_angry", "YAF_neat_angry"):
        assert abs(len(load_audio(rows[clip]["audio"])) - 8000) <= 1


def test_a_copy_of_itself_inside_is_taken_once(folder, tmp_path):
    before = by_clip(tmp_path)
    inside = folder / "TESS Toronto emotional speech set data"
    shutil.copytree(folder, inside)
    with pytest.warns(UserWarning, match=f"{len(before)} recordings are there twice"):
        after = by_clip(tmp_path)
    assert after.keys() == before.keys()


def test_two_different_sounds_of_one_name_are_refused(folder, tmp_path):
    write_clip(folder / "copy" / "OAF_back_angry.wav", "sad", 2)
    with pytest.raises(CorpusError, match=r"the same clip as .*OAF_back_angry\.wav, but other sound; remove one"):
        by_clip(tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("OAF_angry/back_angry.wav", "not an official TESS name"),
        ("OAF_angry/OAF_back_cross.wav", r"an emotion \(angry, disgust, fear"),
        ("OAF_sad/OAF_back_angry.wav", "is OAF angry by its name, but the folder is OAF_sad"),
        ("YAF_angry/OAF_back_angry.wav", "is OAF angry by its name, but the folder is YAF_angry"),
    ],
)
def test_wrong_names_are_told(path, words):
    with pytest.raises(CorpusError, match=words):
        parse_name(path)


def test_a_folder_may_be_any_other():
    assert parse_name("anything/OAF_back_angry.flac") == parse_name("OAF_Angry/OAF_back_angry.wav")
