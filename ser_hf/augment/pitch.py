"""Changes of speed, and of pitch alone: a change of speed that a change of tempo undoes.

Tempo is FFmpeg's ``atempo`` (waveform similarity overlap-add), which PyAV carries: it keeps the sharp onsets of speech
that a phase vocoder smears, and costs half as much.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import soxr

from ser_hf.audio import SAMPLE_RATE

# Silence around a clip, in samples: atempo begins half a window (1024 samples at 16 kHz) into what it is given, and may
# drop as much as a window at the end.
LEAD, TAIL = 512, 1024


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play a clip ``factor`` times as fast, which moves tempo and pitch together (Ko et al. 2015)."""
    if factor == 1.0:
        return samples
    # The quick quality is enough here: what it leaves behind lies far below the noise that is added next.
    return soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ").astype(np.float32)


def shift_pitch(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Raise (lower, if negative) the pitch of a clip by -12 to 12 semitones at the same tempo; formants move along.

    atempo does no more than that, twice the tempo, in one pass.
    """
    if semitones == 0.0 or not samples.size:
        return samples
    factor = 2 ** (semitones / 12)
    faster = np.pad(change_speed(samples, factor), (LEAD, TAIL))
    shifted = _atempo(faster, 1 / factor)[: samples.size]
    return np.clip(np.pad(shifted, (0, samples.size - shifted.size)), -1.0, 1.0)


def _atempo(samples: np.ndarray, tempo: float) -> np.ndarray:
    """A waveform at ``tempo`` times its tempo, a few samples longer or shorter than that makes it."""
    import av  # 0.1 s, and only for these

    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono", time_base=Fraction(1, SAMPLE_RATE))
    filter_, sink = graph.add("atempo", f"{tempo:.9f}"), graph.add("abuffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    source.push(frame)
    source.push(None)
    parts = []
    while True:
        try:
            parts.append(sink.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)
