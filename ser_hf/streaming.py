"""A microphone that is listened to: what the last seconds of it express, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser_hf.audio import SilenceError, TooShortError, read_audio
from ser_hf.classifier import EmotionClassifier, Prediction
from ser_hf.quality import level_range

HEARD_SECONDS = 3.0  # long enough for a short sentence, short enough to follow a change of voice
# White noise spans 5 dB from its quiet to its loud frames; speech with noise 5 dB below it spans 9 dB at the least.
NO_VOICE_DB = 8.0


@dataclass(frozen=True)
class Moment:
    """What was heard up to now.

    Attributes:
        seconds: of sound since the beginning.
        prediction: of the last `HEARD_SECONDS`; None when there is no voice in them.
        reason: why there is no prediction: "silence", "too short" or "background"; else empty.
    """

    seconds: float
    prediction: Prediction | None
    reason: str = ""


class SpeechStream:
    """The last seconds of one microphone; nothing older is kept.

    Args:
        classifier: what answers.
    """

    def __init__(self, classifier: EmotionClassifier) -> None:
        self._classifier = classifier
        self._rate = 0
        self._last = np.zeros(0, dtype=np.float32)
        self._seconds = 0.0

    def hear(self, samples: np.ndarray, rate: int) -> Moment:
        """Take the next piece of sound, and say what the last seconds express.

        Args:
            samples: float32 (n,), the piece that follows the one before without a gap.
            rate: in Hz; a change of it, as by another microphone, begins anew.

        Raises:
            AudioError: the piece is no sound (see `ser_hf.audio.read_audio`).
        """
        if rate != self._rate:
            self._rate, self._last = rate, np.zeros(0, dtype=np.float32)
        self._last = np.concatenate([self._last, samples])[-round(HEARD_SECONDS * rate) :]
        self._seconds += len(samples) / rate
        try:
            recording = read_audio((rate, self._last))
            if level_range(recording.samples, recording.sample_rate) < NO_VOICE_DB:
                return Moment(self._seconds, None, "background")
            return Moment(self._seconds, self._classifier.predict(recording))
        except SilenceError:
            return Moment(self._seconds, None, "silence")
        except TooShortError:
            return Moment(self._seconds, None, "too short")
