"""CREMA-D: its names, its actors, its known faults."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora.cremad import ACTORS, FIELDS, WOMEN, parse_name
from ser_hf.labels import LABELS
from tests.corpora.trees import make_cremad, write_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")


def test_rows(tmp_path):
    make_cremad(tmp_path / "cremad", actors=(1002, 1001), sentences=("IEO",), levels=("LO", "MD", "HI", "XX"))
    table = load_corpus("cremad", tmp_path)
    assert len(table) == 2 * 6 * 4
    assert table[0] == {
        "clip": "1001_IEO_ANG_HI",
        "audio": {"path": str(tmp_path / "cremad/AudioWAV/1001_IEO_ANG_HI.wav"), "bytes": None},
        "emotion": LABELS.index("angry"),
        "speaker": "1001",
        "gender": "male",
        "statement": "It's eleven o'clock",
        "intensity": "high",
        "repetition": None,
        "corpus": "cremad",
    }
    assert Counter(table["intensity"]) == {"low": 12, "medium": 12, "high": 12, None: 12}
    assert Counter(LABELS[i] for i in table["emotion"]) == dict.fromkeys(
        ("angry", "disgust", "fearful", "happy", "neutral", "sad"), 8
    )
    assert set(zip(table["speaker"], table["gender"], strict=True)) == {("1001", "male"), ("1002", "female")}


def test_as_many_men_and_women_as_the_readme_says():
    assert len(ACTORS) == 91
    assert set(ACTORS) >= WOMEN
    assert len(WOMEN) == 43


def test_the_clip_without_a_voice_is_left_out_with_a_warning(tmp_path):
    make_cremad(tmp_path / "cremad", actors=(1076,), sentences=("MTI",), emotions=("SAD", "NEU"))
    with pytest.warns(UserWarning, match=r"1076_MTI_SAD_XX\.wav: holds no voice .* was left out"):
        table = load_corpus("cremad", tmp_path)
    assert table["clip"][:] == ["1076_MTI_NEU_XX"]


@pytest.mark.parametrize("name", ["1040_ITH_SAD_X", "1040_ITH_SAD_XX"])
def test_the_name_that_lacks_an_x(name, tmp_path):
    write_clip(tmp_path / f"cremad/AudioWAV/{name}.wav", "sad", 1)
    (row,) = load_corpus("cremad", tmp_path)
    assert (row["clip"], row["intensity"], row["speaker"]) == ("1040_ITH_SAD_X", None, "1040")
    with pytest.raises(CorpusError, match="level is 'X'"):
        parse_name("1041_ITH_SAD_X.wav")


@given(st.tuples(*(st.sampled_from(values) for values in FIELDS.values())))
def test_parse_and_format_are_inverse(values):
    assert parse_name(f"AudioWAV/{'_'.join(values)}.wav") == values


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1092_DFA_ANG_XX.wav", "actor is '1092'; expected 1001 to 1091"),
        ("1001_ABC_ANG_XX.wav", "sentence is 'ABC'; expected IEO, TIE"),
        ("1001_DFA_CAL_XX.wav", "emotion is 'CAL'; expected ANG, DIS"),
        ("1001_DFA_ANG.wav", "not an official CREMA-D name"),
    ],
)
def test_wrong_names_are_told(name, words):
    with pytest.raises(CorpusError, match=words):
        parse_name(name)


def test_a_clone_without_its_large_files_says_what_to_do(tmp_path):
    path = tmp_path / "cremad/AudioWAV/1001_DFA_ANG_XX.wav"
    path.parent.mkdir(parents=True)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CorpusError, match="only points to a recording; git lfs pull brings it"):
        load_corpus("cremad", tmp_path)


def test_mp3s_alone_are_not_enough(tmp_path):
    (tmp_path / "cremad/AudioMP3").mkdir(parents=True)
    (tmp_path / "cremad/AudioMP3/1001_DFA_ANG_XX.mp3").write_bytes(b"x")
    with pytest.raises(
        CorpusError, match=r"holds \.mp3 but no wav or flac recordings; fetch it from https://github.com"
    ):
        load_corpus("cremad", tmp_path)
