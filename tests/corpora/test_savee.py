"""SAVEE: its names, in both layouts."""

from __future__ import annotations

from collections import Counter

import pytest

from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora.savee import N_CLIPS, N_SENTENCES, SPEAKERS, parse_name
from ser_hf.labels import LABELS
from tests.corpora.trees import make_savee

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")


def test_rows(tmp_path):
    make_savee(tmp_path / "savee", sentences=(1, 15))
    table = load_corpus("savee", tmp_path)
    assert len(table) == 4 * 7 * 2
    assert table[0] == {
        "clip": "DC_a01",
        "audio": {"path": str(tmp_path / "savee/AudioData/DC/a01.wav"), "bytes": None},
        "emotion": LABELS.index("angry"),
        "speaker": "DC",
        "gender": "male",
        "statement": None,
        "intensity": None,
        "repetition": None,
        "corpus": "savee",
    }
    assert Counter(LABELS[i] for i in table["emotion"]) == {label: 8 for label in LABELS if label != "calm"}
    assert Counter(table["speaker"]) == dict.fromkeys(SPEAKERS, 14)


def test_both_layouts_are_the_same_corpus(tmp_path):
    make_savee(tmp_path / "one" / "savee")
    make_savee(tmp_path / "two" / "savee" / "ALL", flat=True)
    one, two = (load_corpus("savee", tmp_path / name).remove_columns("audio")[:] for name in ("one", "two"))
    assert one == two


def test_sadness_and_surprise_are_told_from_anger():
    assert [parse_name(f"KL/{name}.wav").letters for name in ("sa01", "su15", "a01", "n30")] == ["sa", "su", "a", "n"]


def test_as_many_clips_as_the_record_says():
    assert len(SPEAKERS) * sum(N_SENTENCES.values()) == N_CLIPS


@pytest.mark.parametrize("name", ["DC/a16.wav", "DC/n31.wav", "DC/a00.wav", "DC/s01.wav", "DC/a1.wav", "XX_a01.wav"])
def test_wrong_names_are_told(name):
    with pytest.raises(CorpusError, match="not an official SAVEE name"):
        parse_name(name)


def test_a_clip_without_its_speaker_is_refused():
    with pytest.raises(CorpusError, match=r"audio/a01\.wav: the folder must be a speaker \(DC, JE, JK, KL\)"):
        parse_name("audio/a01.wav")
