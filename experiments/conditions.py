"""Named, fixed recording conditions, in which the robustness of a model is measured.

A condition changes a clip that is tested; `ser_hf.augment` draws random changes for clips that train.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import numpy as np

from experiments.sounds import SOUNDS, make_sound
from ser_hf.audio import SAMPLE_RATE, speech_span, trim_silence
from ser_hf.augment import add_noise, add_room, apply_codec, apply_gain, limit_band

Condition = Callable[[np.ndarray, np.random.Generator], np.ndarray]

AS_RECORDED = "as recorded"
DOUBLE_DB = 20 * np.log10(2)  # twice the amplitude
SILENCE_SECONDS = 3.0
ROOM_RT60, ROOM_DRR_DB = 0.4, 3.0
FAR_RT60, FAR_DRR_DB, FAR_GAIN_DB, FAR_SNR_DB = 0.7, -3.0, -12.0, 20.0


def noise(snr_db: float) -> Condition:
    """White noise at a signal-to-noise ratio in dB over the whole clip, clipped at full scale."""
    return lambda samples, rng: np.clip(add_noise(samples, snr_db, rng), -1.0, 1.0)


def coded(codec: str, bit_rate: int) -> Condition:
    """Sent through a codec of `ser_hf.augment.CODECS` at so many bits per second."""
    return lambda samples, rng: apply_codec(samples, codec, bit_rate)


def first(seconds: float) -> Condition:
    """The first seconds of the speech: the silence before it, which may last a second, is cut."""
    return lambda samples, rng: trim_silence(samples)[: round(seconds * SAMPLE_RATE)]


def room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A furnished room, with the microphone on the table."""
    return np.clip(add_room(samples, ROOM_RT60, ROOM_DRR_DB, rng), -1.0, 1.0)


def far_microphone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A microphone across a living room: mostly reverberation, a quarter of the amplitude, and pink noise."""
    distant = apply_gain(add_room(samples, FAR_RT60, FAR_DRR_DB, rng), FAR_GAIN_DB)
    return np.clip(add_noise(distant, FAR_SNR_DB, rng, slope=1.0), -1.0, 1.0)


# name -> function(samples, rng): float32 mono at 16 kHz to the same; only noise and rooms draw from the generator.
CONDITIONS: MappingProxyType[str, Condition] = MappingProxyType(
    {
        AS_RECORDED: lambda samples, rng: samples,
        **{f"noise {snr_db} dB": noise(snr_db) for snr_db in (30, 20, 10, 5, 0)},
        "telephone": lambda samples, rng: apply_codec(limit_band(samples), "mu-law"),  # 300 to 3400 Hz, 8 kHz
        "mobile call": coded("amr", 12_200),
        "opus 16 kbit/s": coded("opus", 16_000),
        "opus 8 kbit/s": coded("opus", 8_000),
        "mp3 32 kbit/s": coded("mp3", 32_000),
        "mp3 16 kbit/s": coded("mp3", 16_000),
        "room": room,
        "far microphone": far_microphone,
        "half loudness": lambda samples, rng: apply_gain(samples, -DOUBLE_DB),
        "double loudness": lambda samples, rng: apply_gain(samples, DOUBLE_DB),
        **{f"first {seconds:g} s": first(seconds) for seconds in (0.5, 1.0, 1.5, 2.0, 3.0)},
        "silence around": lambda samples, rng: np.pad(samples, round(SILENCE_SECONDS * SAMPLE_RATE)),
        "silence cut": lambda samples, rng: trim_silence(samples),
    }
)
SOUND_SECONDS = 4.0
PAUSES, PAUSES_PEAK = "pauses", 0.1


def pauses(samples: np.ndarray) -> np.ndarray:
    """The background of a clip before and after its speech, repeated to 4 s and raised to the level of speech.

    Returns:
        float32; digital silence where the clip is nothing but speech.
    """
    start, end = speech_span(samples)
    around = np.concatenate([samples[:start], samples[end:]])
    if not around.size or not np.abs(around).max():
        return np.zeros(round(SOUND_SECONDS * SAMPLE_RATE), np.float32)
    return np.resize(around, round(SOUND_SECONDS * SAMPLE_RATE)) * np.float32(PAUSES_PEAK / np.abs(around).max())


# Kinds of sound without speech: kind -> function(rng) to float32 of 4 s at 16 kHz; the last is made of a clip.
NO_SPEECH: MappingProxyType[str, Callable] = MappingProxyType(
    {kind: partial(make_sound, round(SOUND_SECONDS * SAMPLE_RATE), kind=kind) for kind in SOUNDS} | {PAUSES: pauses}
)
NOISE_CURVE = {AS_RECORDED: np.inf} | {name: float(name.split()[1]) for name in CONDITIONS if name.startswith("noise")}
LENGTH_CURVE = {name: float(name.split()[1]) for name in CONDITIONS if name.startswith("first")}
