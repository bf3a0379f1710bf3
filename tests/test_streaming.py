import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, load_audio, trim_silence
from ser_hf.classifier import EmotionClassifier
from ser_hf.streaming import HEARD_SECONDS, SpeechStream
from tests.synthetic import make_clip


class Recorder:
    """Keeps the clips that it is given."""

    labels = ("calm", "angry")

    def __init__(self):
        self.clips = []

    def predict_proba(self, clips):
        self.clips += clips
        return np.tile([0.3, 0.7], (len(clips), 1))


def hear(model: Recorder, samples: np.ndarray, rate: int = SAMPLE_RATE, step: float = 0.5):
    """The last moment of a stream that gets the samples in pieces of ``step`` seconds."""
    stream = SpeechStream(EmotionClassifier(model, "recorder", window_seconds=4.0))
    for start in range(0, len(samples), round(rate * step)):
        stream.add(samples[start : start + round(rate * step)], rate)
        moment = stream.answer()
    return moment


def test_stream_predicts_the_last_seconds():
    model, clip = Recorder(), make_clip("angry", seconds=6)
    moment = hear(model, clip)
    assert moment.seconds == pytest.approx(6)
    assert moment.prediction.label == "angry"
    last = load_audio(clip[-round(HEARD_SECONDS * SAMPLE_RATE) :])
    np.testing.assert_allclose(model.clips[-1], trim_silence(last), atol=1e-6)


def test_stream_resamples_pieces_together():
    clip = make_clip("angry", seconds=2, sample_rate=48_000)
    pieces, whole = Recorder(), Recorder()
    hear(pieces, clip, 48_000)
    hear(whole, clip, 48_000, step=2)
    np.testing.assert_allclose(pieces.clips[-1], whole.clips[-1], atol=1e-6)


NOISE = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)
CLICK = np.where((np.arange(2 * SAMPLE_RATE) // 80) == 50, 0.5, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(SAMPLE_RATE, np.float32), "silence"),
        (NOISE, "background"),
        (CLICK, "too short"),
        (NOISE[: SAMPLE_RATE // 2], "too short"),
    ],
)
def test_stream_without_voice_has_a_reason(samples, reason):
    model = Recorder()
    moment = hear(model, samples, step=4)
    assert (moment.prediction, moment.reason) == (None, reason)
    assert model.clips == []


def test_stream_begins_again_at_another_rate():
    model = Recorder()
    stream = SpeechStream(EmotionClassifier(model, "recorder", window_seconds=4.0))
    stream.add(make_clip("angry", seconds=2), SAMPLE_RATE)
    stream.add(make_clip("angry", seconds=1, sample_rate=48_000), 48_000)
    stream.answer()
    assert 0.4 * SAMPLE_RATE < len(model.clips[-1]) <= SAMPLE_RATE  # of the second piece, without silence
    assert stream.seconds == pytest.approx(3)
