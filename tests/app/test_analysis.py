import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from app.analysis import OUT_OF_MEMORY
from app.limits import Limits
from app.views import result_html
from ser_hf.classifier import EmotionClassifier
from ser_hf.explain import decisive_segment, occlusion, standout_features

TORCHS_OWN = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("file", ["clip.wav", "long.flac"])
def test_analyse_returns_what_both_classifiers_predict(analyser, recordings, file):
    result = analyser.analyse(str(recordings / file))
    assert result["file"] == file
    for part, classifier in (("model", analyser.model), ("baseline", analyser.baseline)):
        expected = classifier.predict(recordings / file).to_dict()
        assert result[part]["name"] == classifier.name
        for key in ("label", "confident", "scores", "timeline"):
            assert result[part][key] == expected[key]
        assert not set(result["warnings"]) & set(result[part]["warnings"])
        assert set(result["warnings"]) | set(result[part]["warnings"]) == set(expected["warnings"])
    assert result["agree"] == (result["model"]["label"] == result["baseline"]["label"])
    json.dumps(result)


@pytest.mark.parametrize("error", [MemoryError(), TORCHS_OWN], ids=repr)
def test_analyse_reports_want_of_memory(analyser, recordings, monkeypatch, error):
    monkeypatch.setattr(EmotionClassifier, "predict", Mock(side_effect=error))
    result = analyser.analyse(str(recordings / "clip.wav"))
    assert result == {"file": "clip.wav", "reason": "out of memory", "error": OUT_OF_MEMORY}
    assert OUT_OF_MEMORY in result_html(result)


def test_analyse_does_not_hide_other_errors(analyser, recordings, monkeypatch):
    monkeypatch.setattr(EmotionClassifier, "predict", Mock(side_effect=np.linalg.LinAlgError))
    with pytest.raises(np.linalg.LinAlgError):
        analyser.analyse(str(recordings / "clip.wav"))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("silence.wav", "silence"),
        ("short.wav", "too short"),
        ("bad.wav", "unreadable"),
        ("empty.wav", "unreadable"),
        ("gone.wav", "unreadable"),  # voices are deleted by age: one that waited long for its turn may be
        ("a\0b.wav", "unreadable"),
    ],
)
def test_analyse_refuses_by_name_without_the_path(analyser, recordings, file, reason):
    result = analyser.analyse(f"{recordings}/{file}")
    assert result["reason"] == reason
    assert file in result["error"]
    assert str(recordings) not in result["error"]
    assert "ser-refusal" in result_html(result)


def test_analyse_refuses_nothing(analyser):
    assert analyser.analyse(None)["reason"] == "nothing"


def test_analyse_keeps_to_the_limit(analyser, recordings):
    result = replace(analyser, limits=Limits(seconds=10)).analyse(str(recordings / "long.flac"))
    assert result["reason"] == "too long"
    assert "10" in result["error"]


@pytest.mark.parametrize("file", ["clip.wav", "long.flac"])
def test_explain_follows_the_given_result(analyser, recordings, monkeypatch, file):
    path = str(recordings / file)
    result = analyser.analyse(path)
    predictions = [one.predict(path) for one in (analyser.model, analyser.baseline)]
    with monkeypatch.context() as patched:
        for classifier in (analyser.model, analyser.baseline):
            patched.setattr(classifier, "predict", Mock(side_effect=AssertionError("predicted again")))
        explanation = analyser.explain(path, result)
    expected = occlusion(analyser.model, explanation.recording, predictions[0].label, predictions[0].timeline)
    for key in ("start", "without"):
        found = [one[key] for one in explanation.stretches]
        assert found == pytest.approx([getattr(one, key) for one in expected], abs=1e-3)
    segment = decisive_segment(predictions[0].label, predictions[0].timeline)
    assert all(segment.start <= one["start"] < one["end"] <= segment.end + 1e-3 for one in explanation.stretches)
    standouts = standout_features(
        analyser.baseline, explanation.recording, predictions[1].label, predictions[1].timeline
    )
    assert [one["words"] for one in explanation.standouts] == [one.words for one in standouts]
