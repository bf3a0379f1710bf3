"""The live tab: a microphone that streams, and a prediction that follows the voice."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.views import failure_html, render
from ser_hf.audio import AudioError, EmptyAudioError, read_audio
from ser_hf.classifier import EmotionClassifier
from ser_hf.streaming import Moment, SpeechStream

STEP_SECONDS = 0.5  # of sound from one prediction to the next
ROUNDING = 0.01
CHUNK_SECONDS = 5.0  # more than a browser that lags behind ever sends
LATE_SECONDS = 0.5  # behind the voice, beyond what the first piece took
SHOWN_MOMENTS = 40

WAITING = '<div class="ser-empty">Press <b>Record</b> and speak: the prediction follows your voice.</div>'


@dataclass
class Listening:
    """One visitor's microphone, from start to stop.

    Attributes:
        stream: the last seconds of sound.
        moments: the latest predictions, oldest first.
        stopped: nothing more is analysed.
        began: when the first piece of sound arrived, by the clock.
        passed_over: the last piece was not analysed, to catch up.
    """

    stream: SpeechStream
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=SHOWN_MOMENTS))
    stopped: bool = False
    began: float | None = None
    passed_over: bool = False


def start(classifier: EmotionClassifier) -> Listening:
    """Begin to listen."""
    return Listening(SpeechStream(classifier))


def hear(
    listening: Listening | None, chunk: str | None, max_seconds: float, clock: Callable[[], float] = time.monotonic
) -> str | None:
    """Take the next piece of sound, empty its file, and return what the page shows; None where nothing changes.

    Args:
        chunk: a file with the next piece, of half a second or less.
        max_seconds: after which listening stops by itself.
        clock: seconds. Where predictions fall behind the voice, on a busy machine, every other piece gets none.
    """
    if chunk is None:
        return None
    try:
        if listening is None or listening.stopped:
            return None
        # At its own rate: pieces are put together before they are resampled, or each would have edges of its own.
        recording = read_audio(chunk, sample_rate=None, max_seconds=CHUNK_SECONDS)
        listening.stream.add(recording.samples, recording.sample_rate)
        # Gradio 6.31 forgets `stream_every` in a tab that is not the first, and sends ten pieces a second.
        analysed = listening.moments[-1].seconds if listening.moments else 0.0
        if listening.stream.seconds - analysed < STEP_SECONDS - ROUNDING or _is_late(listening, clock()):
            return None
        moment = listening.stream.answer()
    except EmptyAudioError:  # Gradio stores equal pieces, such as those of a muted microphone, in one file
        return None
    except AudioError as error:
        return failure_html("no sound", str(error).replace(chunk, "The microphone's sound"))
    finally:
        # Nobody's voice is kept; the empty file is removed by Gradio, which would forever look for a deleted one.
        with contextlib.suppress(FileNotFoundError):
            os.truncate(chunk, 0)
    if listening.stopped:  # while the model was at work
        return None
    listening.moments.append(moment)
    if moment.seconds >= max_seconds:
        listening.stopped = True
    return live_html(listening, max_seconds)


def _is_late(listening: Listening, now: float) -> bool:
    """Whether to pass over a piece in order to catch up with the voice; never twice in a row."""
    if listening.began is None:
        listening.began = now
    lag = now - listening.began - listening.stream.seconds
    listening.passed_over = lag > LATE_SECONDS and not listening.passed_over
    return listening.passed_over


def stop(listening: Listening | None, max_seconds: float) -> str:
    """Stop listening; returns what the page shows."""
    if listening is None:
        return WAITING
    listening.stopped = True
    return live_html(listening, max_seconds) if listening.moments else WAITING


def live_html(listening: Listening, max_seconds: float) -> str:
    """The latest prediction, and the course of those before it."""
    course = [moment.prediction for moment in listening.moments]
    predictions = [prediction for prediction in course if prediction]
    return render(
        "live.html",
        now=listening.moments[-1],
        prediction=predictions[-1] if predictions else None,
        course=[None] * (SHOWN_MOMENTS - len(course)) + course,
        labels=list(dict.fromkeys(prediction.label for prediction in predictions)),
        stopped=listening.stopped,
        max_seconds=max_seconds,
    )
