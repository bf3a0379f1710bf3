"""What each corpus states about itself, and what all-training stands for."""

from __future__ import annotations

import importlib
import re

import pytest

from ser_hf import labels
from ser_hf.corpora import CORPORA, CorpusError, corpus_facts, expand_corpora, load_corpus, training_corpora
from tests.corpora.trees import OFFICIAL, make_official

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom were left out")


def labels_of(name: str) -> set[str]:
    if name not in OFFICIAL:
        return set(getattr(labels, f"{name.upper()}_EMOTIONS").values())
    emotions = importlib.import_module(f"ser_hf.corpora.{name.replace('-', '_')}").EMOTIONS
    return set(emotions.values() if isinstance(emotions, dict) else emotions)


@pytest.mark.parametrize("name", CORPORA)
def test_facts_are_complete_and_fit_the_labels(name):
    facts = corpus_facts(name)
    assert facts.name == name
    assert facts.has_calm == ("calm" in labels_of(name))
    assert re.fullmatch(r"[a-z]{2,3}", facts.language)
    assert facts.record.startswith("http")
    assert facts.title
    assert facts.citation
    assert facts.licence


def test_facts_of_an_unknown_corpus():
    with pytest.raises(CorpusError, match="did you mean 'emovo'"):
        corpus_facts("emov")


def test_training_corpora_leave_out_savee_and_tess():
    assert training_corpora() == tuple(name for name in CORPORA if name not in ("savee", "tess"))


def test_all_training_is_what_is_there(tmp_path, monkeypatch):
    for name in ("emogator", "emovo"):
        make_official(name, tmp_path / name)
    (tmp_path / "nemo").mkdir()
    with pytest.warns(UserWarning, match=r"ravdess \(https.*cremad \(https.*nemo \(https"):
        assert expand_corpora(["savee", "all-training", "emovo"], tmp_path) == ["savee", "emovo", "emogator"]
    assert expand_corpora(["tess", "ravdess"], tmp_path) == ["tess", "ravdess"]
    monkeypatch.setattr("ser_hf.corpora.training_corpora", lambda: ("emovo",))
    assert expand_corpora(["all-training"], tmp_path) == ["emovo"]  # nothing to warn of


def test_all_training_of_nothing_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=f"{tmp_path}: no recordings of ravdess"):
        expand_corpora(["all-training"], tmp_path)
    with pytest.raises(CorpusError, match="no corpus 'iemocap'"):
        expand_corpora(["iemocap"], tmp_path)


@pytest.mark.parametrize("name", training_corpora())
def test_real_training_corpora_have_their_labels(name, real_data):
    if not (real_data / name).is_dir():
        pytest.skip(f"SER_HF_DATA={real_data} holds no {name}")
    table = load_corpus(name, real_data, download=False)
    names = table.features["emotion"].names
    assert {names[i] for i in table["emotion"]} == labels_of(name) & set(labels.LABELS)
