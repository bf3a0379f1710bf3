from itertools import pairwise

import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, Recording, speech_span
from ser_hf.classifier import EmotionClassifier
from ser_hf.explain import MEASURES, STRETCH_SECONDS, UNUSUAL, decisive_segment, occlusion, standout_features
from ser_hf.features import extract, feature_names
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm

GROUPS = ("pitch", "energy", "spectral", "temporal")


def recording(samples: np.ndarray) -> Recording:
    return Recording(samples.astype(np.float32), SAMPLE_RATE, "clip.wav")


def beep(seconds: float, *bursts: tuple[float, float, float]) -> Recording:
    """A faint hum with bursts (start s, end s, amplitude) of a 440 Hz tone."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = 0.02 * np.sin(2 * np.pi * 100 * time)
    for start, end, amplitude in bursts:
        inside = (time >= start) & (time < end)
        samples[inside] += amplitude * np.sin(2 * np.pi * 440 * time[inside])
    return recording(samples)


class Loudest:
    """Says "angry" in proportion to the loudest sample, else "calm"."""

    labels = ("calm", "angry")

    def predict_proba(self, clips):
        loud = np.array([min(float(np.abs(clip).max()), 0.99) for clip in clips])
        return np.stack([1 - loud, loud], axis=1)


@pytest.fixture(scope="module")
def loudest() -> EmotionClassifier:
    return EmotionClassifier(Loudest(), "loudest", window_seconds=4.0)


@pytest.fixture(scope="module")
def svm(tmp_path_factory) -> EmotionClassifier:
    """Trained on voices of middling pitch, loudness and rate."""
    return EmotionClassifier.from_pretrained(save_tiny_svm(tmp_path_factory.mktemp("models") / "svm", GROUPS))


def explain(function, classifier: EmotionClassifier, clip: Recording) -> list:
    prediction = classifier.predict(clip)
    return function(classifier, clip, prediction.label, prediction.timeline)


def test_occlusion_finds_what_drove_the_prediction(loudest):
    clip = beep(3.0, (1.05, 1.15, 0.8))
    before = clip.samples.copy()
    stretches = explain(occlusion, loudest, clip)
    np.testing.assert_array_equal(clip.samples, before)
    most = max(stretches, key=lambda stretch: stretch.evidence)
    assert most.start < 1.05 < 1.15 < most.end
    assert most.complete == pytest.approx(0.81, abs=0.02)
    assert most.without < 0.1
    others = [stretch for stretch in stretches if stretch.end < 1.05 or stretch.start > 1.15]
    assert others
    assert all(stretch.evidence == pytest.approx(0, abs=1e-6) for stretch in others)


def test_occlusion_finds_what_speaks_against_it(loudest):
    clip = beep(3.0, (1.0, 1.2, 0.4))
    assert loudest.predict(clip).label == "calm"
    assert min(stretch.evidence for stretch in explain(occlusion, loudest, clip)) < -0.1


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.9])
def test_occlusion_covers_the_sound_and_nothing_else(loudest, seconds):
    clip = recording(np.pad(make_clip("happy", seconds=seconds), (SAMPLE_RATE, SAMPLE_RATE))[: 4 * SAMPLE_RATE])
    first, last = (place / SAMPLE_RATE for place in speech_span(clip.samples))
    stretches = explain(occlusion, loudest, clip)
    assert stretches[0].start == pytest.approx(first)
    assert stretches[-1].end == pytest.approx(last)
    for before, after in pairwise(stretches):
        assert before.start < after.start <= before.end
    assert all(stretch.end - stretch.start <= STRETCH_SECONDS + 1e-9 for stretch in stretches)


def test_occlusion_looks_at_the_decisive_window(loudest):
    clip = beep(14.0, (9.0, 9.2, 0.9))
    prediction = loudest.predict(clip)
    segment = decisive_segment(prediction.label, prediction.timeline)
    assert segment.scores[prediction.label] == max(one.scores[prediction.label] for one in prediction.timeline)
    for stretch in explain(occlusion, loudest, clip):
        assert segment.start <= stretch.start < stretch.end <= segment.end + 1e-9


@pytest.mark.parametrize(("gain", "words"), [(9, "a loud voice ("), (0.05, "a quiet voice (")])
def test_standouts_are_far_from_the_training_clips(svm, gain, words):
    clip = recording(np.clip(make_clip("neutral", actor=1, seconds=1.5) * gain, -1, 1))
    values = dict(zip(feature_names(GROUPS), extract(clip.samples, GROUPS), strict=True))
    usual = svm.model.feature_statistics()
    standouts = explain(standout_features, svm, clip)
    expected = {name: (values[name] - usual[name][0]) / usual[name][1] for name in MEASURES}
    expected = {name: z for name, z in expected.items() if abs(z) >= UNUSUAL}
    assert {one.name: one.deviation for one in standouts} == pytest.approx(expected, rel=1e-3)
    assert {one.name: one.words for one in standouts}["energy_mean"].startswith(words)
    assert [one.name for one in standouts] == sorted(expected, key=lambda name: -abs(expected[name]))


def test_standouts_of_noise_have_no_pitch(svm):
    noise = recording(np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE))
    assert "pitch_mean" not in {one.name for one in explain(standout_features, svm, noise)}


def test_model_without_features_has_no_standouts(loudest):
    assert explain(standout_features, loudest, beep(2.0, (1.0, 1.2, 0.8))) == []
