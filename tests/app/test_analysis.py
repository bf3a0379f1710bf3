import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from app.analysis import OUT_OF_MEMORY, Analyser
from app.limits import Limits
from app.views import REFUSALS, answer_html
from ser_hf.classifier import EmotionClassifier
from ser_hf.explain import decisive_segment, occlusion, standout_features


def test_answer_is_that_of_both_classifiers(analyser, recordings):
    answer = analyser.analyse(str(recordings / "clip.wav"))
    assert answer["file"] == "clip.wav"
    for part, classifier in (("model", analyser.model), ("baseline", analyser.baseline)):
        expected = classifier.predict(recordings / "clip.wav").to_dict()
        assert answer[part]["name"] == classifier.name
        assert {key: answer[part][key] for key in ("label", "confident", "scores", "timeline")} == {
            key: expected[key] for key in ("label", "confident", "scores", "timeline")
        }
    assert answer["agree"] == (answer["model"]["label"] == answer["baseline"]["label"])
    json.dumps(answer)


def test_warnings_of_both_models_are_told_once(analyser, recordings):
    answer = analyser.analyse(str(recordings / "long.flac"))
    assert any("windows" in warning for warning in answer["warnings"])
    for part in ("model", "baseline"):
        assert not set(answer["warnings"]) & set(answer[part]["warnings"])


TORCHS_OWN = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("error", [MemoryError(), np.linalg.LinAlgError, TORCHS_OWN], ids=repr)
def test_want_of_memory_is_said_in_words_and_other_errors_are_not_hidden_behind_it(
    analyser, recordings, monkeypatch, error
):
    monkeypatch.setattr(EmotionClassifier, "predict", Mock(side_effect=error))
    if error is np.linalg.LinAlgError:
        with pytest.raises(np.linalg.LinAlgError):
            analyser.analyse(str(recordings / "clip.wav"))
        return
    answer = analyser.analyse(str(recordings / "clip.wav"))
    assert answer == {"file": "clip.wav", "reason": "out of memory", "error": OUT_OF_MEMORY}
    assert REFUSALS["out of memory"][0] in answer_html(answer)
    monkeypatch.undo()
    assert "model" in analyser.analyse(str(recordings / "clip.wav"))


@pytest.mark.parametrize(
    ("file", "reason"),
    [("silence.wav", "silence"), ("short.wav", "too short"), ("bad.wav", "unreadable"), ("empty.wav", "unreadable")],
)
def test_what_cannot_be_answered_is_said_in_words(analyser, recordings, file, reason):
    answer = analyser.analyse(str(recordings / file))
    assert answer["reason"] == reason
    assert file in answer["error"]
    assert str(recordings) not in answer["error"]  # where the server keeps files is nobody's business
    assert REFUSALS[reason][0] in answer_html(answer)


def test_nothing_recorded_is_said_in_words(analyser):
    assert analyser.analyse(None)["reason"] == "nothing"
    assert "Record" in answer_html(analyser.analyse(None))


@pytest.mark.parametrize("path", ["/tmp/voices/gone.wav", "a\0b.wav"])
def test_an_upload_that_is_gone_is_said_in_words(analyser, path):
    """Voices are deleted by age: one that waited long for its turn may be."""
    answer = analyser.analyse(path)
    assert answer["reason"] == "unreadable"
    assert "/tmp" not in answer["error"]


def test_limits_are_told_when_hit_and_before_anything_is_decoded(analyser, recordings, tmp_path):
    strict = replace(analyser, limits=Limits(megabytes=1, seconds=10))
    answer = strict.analyse(str(recordings / "long.flac"))
    assert answer["reason"] == "too long"
    assert "10" in answer["error"]
    soundfile.write(tmp_path / "large.wav", np.zeros((200_000, 4)), 48_000)
    answer = strict.analyse(str(tmp_path / "large.wav"))
    assert answer["reason"] == "too large"
    assert "1 MB" in answer["error"]


def test_warm_up_answers_with_both_models(analyser, monkeypatch):
    heard = []
    for classifier in (analyser.model, analyser.baseline):
        monkeypatch.setattr(classifier, "predict", lambda source, name=classifier.name: heard.append(name))
    Analyser(analyser.model, analyser.baseline).warm_up()
    assert heard == [analyser.model.name, analyser.baseline.name]


@pytest.mark.parametrize("file", ["clip.wav", "long.flac"])
def test_explanation_is_that_of_the_library_for_the_answer_given(analyser, recordings, file):
    path = str(recordings / file)
    explanation = analyser.explain(path, analyser.analyse(path))
    prediction = analyser.model.predict(path)
    expected = occlusion(analyser.model, explanation.recording, prediction.label, prediction.timeline)
    assert [one["start"] for one in explanation.stretches] == pytest.approx([one.start for one in expected], abs=1e-3)
    assert [one["without"] for one in explanation.stretches] == pytest.approx(
        [one.without for one in expected], abs=1e-3
    )
    segment = decisive_segment(prediction.label, prediction.timeline)
    for stretch in explanation.stretches:
        assert segment.start <= stretch["start"] < stretch["end"] <= segment.end + 1e-3
    baseline = analyser.baseline.predict(path)
    standouts = standout_features(analyser.baseline, explanation.recording, baseline.label, baseline.timeline)
    words = [one.words for one in standouts]
    assert [one["words"] for one in explanation.standouts] == words
    json.dumps([explanation.stretches, explanation.standouts])


def test_the_long_recording_is_not_heard_anew_to_explain_it(analyser, recordings, monkeypatch):
    path = str(recordings / "long.flac")
    answer = analyser.analyse(path)
    for classifier in (analyser.model, analyser.baseline):
        monkeypatch.setattr(classifier, "predict", lambda source: pytest.fail("heard the whole recording again"))
    assert analyser.explain(path, answer).stretches
