"""Speech-like clips in the official RAVDESS layout, for tests that must run where the real corpus is absent.

A clip is a source-filter voice: pulses of a moving pitch through three vowel formants, in syllables, between stretches
of near silence. Pitch, its range, loudness, brightness and speaking rate depend on the emotion; pitch and formants also
on the actor. So a classifier can learn the emotions, and voices differ, but nothing here says anything of real speech.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import correlate, lfilter

from ser_hf.labels import LABEL2ID, LABELS

# emotion: (pitch factor, pitch range in semitones, peak, darkness = pole of a low-pass at 16 kHz, syllables per second)
VOICES = {
    "neutral": (1.00, 1.0, 0.10, 0.93, 4.0),
    "calm": (0.92, 1.5, 0.05, 0.96, 3.2),
    "happy": (1.45, 6.0, 0.30, 0.86, 5.0),
    "sad": (1.10, 2.0, 0.04, 0.95, 2.8),
    "angry": (1.60, 4.0, 0.80, 0.70, 5.5),
    "fearful": (1.85, 3.0, 0.45, 0.82, 6.0),
    "disgust": (0.85, 3.0, 0.20, 0.90, 2.4),
    "surprised": (1.70, 9.0, 0.25, 0.89, 4.5),
}
VOWELS = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])


def resonator(centre: float, sample_rate: int, bandwidth: float = 110.0) -> tuple[list[float], list[float]]:
    """Coefficients (b, a) of a two-pole resonance at `centre` Hz with unit gain at 0 Hz, as in a Klatt synthesizer."""
    radius = np.exp(-np.pi * bandwidth / sample_rate)
    a = [1.0, -2 * radius * np.cos(2 * np.pi * centre / sample_rate), radius**2]
    return [sum(a)], a


def make_clip(
    emotion: str,
    actor: int = 1,
    statement: int = 1,
    repetition: int = 1,
    seconds: float = 3.0,
    sample_rate: int = 16_000,
    intensity: str = "normal",
) -> np.ndarray:
    """One speech-like clip; the same arguments give the same samples.

    Returns:
        float32, shape (seconds * sample_rate,), within [-1, 1]; about the first and last fifth is near silence.
    """
    pitch_factor, semitones, peak, darkness, syllable_rate = VOICES[emotion]
    rng = np.random.default_rng([LABEL2ID[emotion], actor, statement, repetition, intensity == "strong"])
    if intensity == "strong":
        semitones, peak, darkness = semitones * 1.3, min(1.6 * peak, 0.95), darkness - 0.05
    woman = actor % 2 == 0
    actor_rng = np.random.default_rng(1000 + actor)
    base_pitch = (200 if woman else 115) * actor_rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03)
    formant_scale = (1.15 if woman else 1.0) * actor_rng.uniform(0.96, 1.04)

    n_samples = round(seconds * sample_rate)
    start, end = round(0.2 * n_samples), round(0.8 * n_samples)
    time = np.arange(end - start) / sample_rate
    spoken = max(len(time) / sample_rate, 1e-9)
    n_syllables = max(1, round(spoken * syllable_rate * rng.uniform(0.95, 1.05)))
    phase = time / spoken * n_syllables

    contour = np.sin(2 * np.pi * time / spoken * 1.5 + rng.uniform(0, 2 * np.pi)) - 0.3 * time / spoken
    jitter = np.interp(time, np.linspace(0, spoken, 50), rng.normal(0, 0.15, 50))
    pitch = base_pitch * pitch_factor * 2 ** ((semitones / 2 * contour + jitter) / 12)
    pulses = np.diff(np.floor(np.cumsum(pitch) / sample_rate), prepend=0) + 0.01 * rng.normal(size=len(time))
    voice = lfilter([1], [1, -(darkness ** (16_000 / sample_rate))], pulses)

    vowels = np.random.default_rng(statement).integers(len(VOWELS), size=n_syllables)
    for formant in range(VOWELS.shape[1]):
        state = np.zeros(2)
        for syllable, vowel in enumerate(vowels):
            part = slice(*np.searchsorted(phase, [syllable, syllable + 1]))
            centre = min(formant_scale * VOWELS[vowel, formant], 0.45 * sample_rate)
            voice[part], state = lfilter(*resonator(centre, sample_rate), voice[part], zi=state)
    # Nearly closed between syllables: in real speech, too, the level falls by some 30 dB there.
    voice *= 0.02 + 0.98 * np.sin(np.pi * (phase % 1)) ** 0.9

    samples = rng.normal(0, 1e-4, n_samples)
    if len(voice):
        samples[start:end] += peak * voice / max(np.abs(voice).max(), 1e-9)
    return np.clip(samples, -1, 1).astype(np.float32)


def tone(seconds=1.0, rate=16_000, frequency=440.0, level=0.5) -> np.ndarray:
    """A cosine, float32, shape (seconds * rate,)."""
    return (level * np.cos(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def make_ravdess(
    folder: str | Path,
    actors: Iterable[int] = range(1, 25),
    emotions: Iterable[str] = LABELS,
    repetitions: Iterable[int] = (1,),
    statements: Iterable[int] = (1,),
    suffix: str = ".wav",
    sample_rate: int = 16_000,
    seconds: float = 3.0,
    intensities: Iterable[str] = ("normal",),
) -> Path:
    """Write synthetic clips as ``folder/Actor_XX/03-01-...`` and return folder; neutral is never strong."""
    folder = Path(folder)
    variants = list(product(emotions, intensities, statements, repetitions))
    for actor in actors:
        (folder / f"Actor_{actor:02d}").mkdir(parents=True, exist_ok=True)
        for emotion, intensity, statement, repetition in variants:
            if emotion == "neutral" and intensity == "strong":
                continue
            level = 2 if intensity == "strong" else 1
            fields = (3, 1, LABEL2ID[emotion] + 1, level, statement, repetition, actor)
            name = "-".join(f"{field:02d}" for field in fields) + suffix
            samples = make_clip(emotion, actor, statement, repetition, seconds, sample_rate, intensity)
            soundfile.write(folder / f"Actor_{actor:02d}" / name, samples, sample_rate, subtype="PCM_16")
    return folder


def as_file(
    samples: np.ndarray, container: str = "WAV", subtype: str | None = None, sample_rate: int = 16_000
) -> bytes:
    """A file as libsndfile writes it, of (n,) or (n, channels) samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format=container, subtype=subtype)
    return buffer.getvalue()


def claim_samples(flac: bytes, n_samples: int) -> bytes:
    """A flac whose header says that it holds `n_samples` (the 36 low bits of bytes 18 to 25, RFC 9639)."""
    field = int.from_bytes(flac[18:26], "big") >> 36 << 36 | n_samples
    return flac[:18] + field.to_bytes(8, "big") + flac[26:]


def encode(
    samples: np.ndarray,
    container: str,
    codec: str,
    sample_rate: int = 16_000,
    options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> bytes:
    """Encode (n,) or (n, channels) float samples with FFmpeg: ("ipod", "aac") is .m4a, ("webm", "libopus") is .webm.

    `options` are FFmpeg's for the container; {"live": "1"} makes a webm without a length, as browsers record it.
    """
    channels = np.atleast_2d(np.asarray(samples, np.float32).T)
    buffer, layout = io.BytesIO(), {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(channels)]
    with av.open(buffer, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=sample_rate, layout=layout)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        convert = av.AudioResampler(format=stream.format, layout=layout, rate=sample_rate)
        for part in [*convert.resample(frame), *convert.resample(None), None]:
            file.mux(stream.encode(part))
    return buffer.getvalue()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two signals at the shift where they agree most (codecs delay)."""
    shift = int(np.argmax(correlate(b, a, method="fft"))) - len(a) + 1
    a, b = a[max(-shift, 0) :], b[max(shift, 0) :]
    n = min(len(a), len(b))
    return float(np.corrcoef(a[:n], b[:n])[0, 1])
