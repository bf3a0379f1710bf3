import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from app.analysis import OUT_OF_MEMORY
from app.limits import Limits
from app.views import REFUSALS, answer_html
from ser_hf.classifier import EmotionClassifier
from ser_hf.explain import decisive_segment, occlusion, standout_features

TORCHS_OWN = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("file", ["clip.wav", "long.flac"])
def test_analyse_returns_what_both_classifiers_predict(analyser, recordings, file):
    answer = analyser.analyse(str(recordings / file))
    assert answer["file"] == file
    for part, classifier in (("model", analyser.model), ("baseline", analyser.baseline)):
        expected = classifier.predict(recordings / file).to_dict()
        assert answer[part]["name"] == classifier.name
        for key in ("label", "confident", "scores", "timeline"):
            assert answer[part][key] == expected[key]
        assert not set(answer["warnings"]) & set(answer[part]["warnings"])
        assert set(answer["warnings"]) | set(answer[part]["warnings"]) == set(expected["warnings"])
    assert answer["agree"] == (answer["model"]["label"] == answer["baseline"]["label"])
    json.dumps(answer)


@pytest.mark.parametrize("error", [MemoryError(), TORCHS_OWN], ids=repr)
def test_analyse_reports_want_of_memory(analyser, recordings, monkeypatch, error):
    monkeypatch.setattr(EmotionClassifier, "predict", Mock(side_effect=error))
    answer = analyser.analyse(str(recordings / "clip.wav"))
    assert answer == {"file": "clip.wav", "reason": "out of memory", "error": OUT_OF_MEMORY}
    assert REFUSALS["out of memory"][0] in answer_html(answer)


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
    answer = analyser.analyse(f"{recordings}/{file}")
    assert answer["reason"] == reason
    assert file in answer["error"]
    assert str(recordings) not in answer["error"]
    assert REFUSALS[reason][0] in answer_html(answer)


def test_analyse_refuses_nothing(analyser):
    assert analyser.analyse(None)["reason"] == "nothing"


def test_analyse_keeps_to_the_limits(analyser, recordings, tmp_path):
    strict = replace(analyser, limits=Limits(megabytes=1, seconds=10))
    soundfile.write(tmp_path / "large.wav", np.zeros((200_000, 4)), 48_000)
    for path, reason, limit in (
        (recordings / "long.flac", "too long", "10"),
        (tmp_path / "large.wav", "too large", "1 MB"),
    ):
        answer = strict.analyse(str(path))
        assert answer["reason"] == reason
        assert limit in answer["error"]


@pytest.mark.parametrize("file", ["clip.wav", "long.flac"])
def test_explain_follows_the_answer_given(analyser, recordings, monkeypatch, file):
    path = str(recordings / file)
    answer = analyser.analyse(path)
    predictions = [one.predict(path) for one in (analyser.model, analyser.baseline)]
    with monkeypatch.context() as patched:
        for classifier in (analyser.model, analyser.baseline):
            patched.setattr(classifier, "predict", Mock(side_effect=AssertionError("predicted again")))
        explanation = analyser.explain(path, answer)
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
