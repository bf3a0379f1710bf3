import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE, trim_silence
from ser_hf.classifier import EmotionClassifier
from ser_hf.streaming import HEARD_SECONDS, SpeechStream
from tests.synthetic import make_clip


class Recorder:
    """Keeps the clips that it is asked about."""

    labels = ("calm", "angry")

    def __init__(self):
        self.clips = []

    def predict_proba(self, clips):
        self.clips += clips
        return np.tile([0.3, 0.7], (len(clips), 1))


def pieces(samples: np.ndarray, rate: int, seconds: float = 0.5) -> list[np.ndarray]:
    step = round(rate * seconds)
    return [samples[start : start + step] for start in range(0, len(samples), step)]


def hear(stream: SpeechStream, samples: np.ndarray, rate: int):
    stream.add(samples, rate)
    return stream.answer()


@pytest.fixture
def model() -> Recorder:
    return Recorder()


@pytest.fixture
def stream(model: Recorder) -> SpeechStream:
    return SpeechStream(EmotionClassifier(model, "recorder", window_seconds=4.0))


def test_the_answer_is_that_of_the_last_seconds(stream, model):
    clip = make_clip("angry", seconds=6)
    for piece in pieces(clip, SAMPLE_RATE):
        moment = hear(stream, piece, SAMPLE_RATE)
    assert moment.seconds == pytest.approx(6)
    assert moment.prediction.label == "angry"
    np.testing.assert_array_equal(model.clips[-1], trim_silence(clip[-round(HEARD_SECONDS * SAMPLE_RATE) :]))


def test_pieces_are_resampled_together(stream, model):
    """Pieces that are resampled one by one have edges that the whole has not."""
    clip = make_clip("angry", seconds=2, sample_rate=48_000)
    for piece in pieces(clip, 48_000):
        hear(stream, piece, 48_000)
    whole = SpeechStream(EmotionClassifier(other := Recorder(), "whole", window_seconds=4.0))
    hear(whole, clip, 48_000)
    np.testing.assert_allclose(model.clips[-1], other.clips[-1], atol=1e-6)


def test_silence_noise_and_a_click_get_no_answer(stream, model):
    assert hear(stream, np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE).reason == "silence"
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)
    assert hear(stream, noise, SAMPLE_RATE).reason == "background"
    fresh = SpeechStream(EmotionClassifier(model, "recorder", window_seconds=4.0))
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[4000:4080] = 0.5
    assert hear(fresh, click, SAMPLE_RATE).reason == "too short"
    assert model.clips == []


def test_the_first_half_second_is_not_enough(stream, model):
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE // 2).astype(np.float32)
    assert hear(stream, noise, SAMPLE_RATE).reason == "too short"
    assert hear(stream, noise, SAMPLE_RATE).reason == "background"


def test_another_rate_begins_anew(stream, model):
    hear(stream, make_clip("angry", seconds=2), SAMPLE_RATE)
    hear(stream, make_clip("angry", seconds=1, sample_rate=48_000), 48_000)
    assert 0.4 * SAMPLE_RATE < len(model.clips[-1]) <= SAMPLE_RATE  # of the second piece, without silence


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=12))
def test_no_more_than_the_last_seconds_is_ever_kept(lengths):
    stream = SpeechStream(EmotionClassifier(Recorder(), "recorder", window_seconds=4.0))
    for length in lengths:
        stream.add(np.zeros(length, np.float32), SAMPLE_RATE)
    assert stream.seconds == pytest.approx(sum(lengths) / SAMPLE_RATE)
    assert len(stream._last) == min(sum(lengths), round(HEARD_SECONDS * SAMPLE_RATE))
