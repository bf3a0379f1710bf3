"""A microphone that is listened to: what the last seconds of it express, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser_hf.audio import SilenceError, TooShortError, check_speech, read_audio, speech_span
from ser_hf.audio.quality import level_range
from ser_hf.classifier import EmotionClassifier, Prediction

HEARD_SECONDS = 3.0  # long enough for a short sentence, short enough to follow a change of voice
# White noise spans 5 dB from its quiet to its loud frames; speech with noise 5 dB below it spans 9 dB at the least.
NO_VOICE_DB = 8.0
FIRST_SECONDS = 1.0  # before which speech and noise cannot be separated


@dataclass(frozen=True)
class Moment:
    """The state of a stream so far.

    Attributes:
        seconds: of sound since the beginning.
        prediction: of the last `HEARD_SECONDS`; None when there is no voice in them.
        reason: why there is no prediction: "silence", "too short" or "background"; else empty.
    """

    seconds: float
    prediction: Prediction | None
    reason: str = ""


class SpeechStream:
    """The last seconds of one microphone; nothing older is kept."""

    def __init__(self, classifier: EmotionClassifier) -> None:
        self._classifier = classifier
        self._rate = 0
        self._last = np.zeros(0, dtype=np.float32)
        self.seconds = 0.0  # of sound since the beginning

    def add(self, samples: np.ndarray, rate: int) -> None:
        """Take the next piece of sound.

        Args:
            samples: float32 (n,), the piece that follows the one before without a gap.
            rate: in Hz; a change of it, as by another microphone, starts a new stream.
        """
        if rate != self._rate:
            self._rate, self._last = rate, np.zeros(0, dtype=np.float32)
        self._last = np.concatenate([self._last, samples])[-round(HEARD_SECONDS * rate) :]
        self.seconds += len(samples) / rate

    def answer(self) -> Moment:
        """Predict the last seconds."""
        if len(self._last) < FIRST_SECONDS * self._rate:
            return Moment(self.seconds, None, "too short")
        try:
            recording = read_audio((self._rate, self._last))
            check_speech(recording)
        except (SilenceError, TooShortError) as error:
            return Moment(self.seconds, None, "silence" if isinstance(error, SilenceError) else "too short")
        first, last = speech_span(recording.samples)
        if level_range(recording.samples[first:last], recording.sample_rate) < NO_VOICE_DB:
            return Moment(self.seconds, None, "background")
        return Moment(self.seconds, self._classifier.predict(recording))
