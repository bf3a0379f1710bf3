"""Sounds in which nobody speaks, made up: noise, rooms, hum, tones, signals, music, knocks.

A classifier of emotions has to predict some label for each of them. Trained to spread it over all labels, it does not
mistake them for a voice (outlier exposure, Hendrycks et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment.noise import coloured_noise
from ser_hf.augment.room import limit_band

PEAKS = (0.003, 0.95)  # loudest sample of a sound: from that of a quiet room to just below full scale
DIAL_TONES = ((350.0, 440.0), (425.0,), (400.0,), (440.0, 480.0))  # Hz; North America, Europe, Britain, ringing
KEYPAD_ROWS, KEYPAD_COLUMNS = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0)  # Hz; ITU-T Q.23
SCALE = (0, 2, 4, 5, 7, 9, 11, 12)  # semitones of a major scale

Sound = Callable[[int, np.random.Generator], np.ndarray]


def make_sound(size: int, rng: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """A sound without speech, at a level between that of a quiet room and full scale.

    Args:
        size: samples at 16 kHz; at least one.
        rng: what it is drawn from.
        kind: one of `SOUNDS`; default: any.

    Returns:
        float32 (size,), within [-1, 1].
    """
    made = SOUNDS[kind or list(SOUNDS)[rng.integers(len(SOUNDS))]](size, rng)
    peak = np.exp(rng.uniform(*np.log(PEAKS)))
    return (made * (peak / (np.abs(made).max(initial=0.0) or 1.0))).astype(np.float32)


def noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise from white to brown, of a band or of all frequencies, steady or swelling as wind and waves do."""
    made = _noise(size, rng)
    if rng.random() < 0.5:
        low = rng.uniform(50, 1500)
        made = limit_band(made, low, rng.uniform(2 * low, 7500))
    if rng.random() < 0.5:
        made = made * (1 + rng.uniform(0.2, 1) * np.sin(2 * np.pi * rng.uniform(0.1, 8) * _time(size)))
    return made


def hum(size: int, rng: np.random.Generator) -> np.ndarray:
    """A mains hum, a fan or an engine: harmonics of a low pitch that may waver, and some noise."""
    pitch = rng.choice([50.0, 60.0, rng.uniform(25, 200)])
    wavering = rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(0.2, 12) * _time(size))
    turns = np.cumsum(pitch * (1 + wavering)) / SAMPLE_RATE
    made = sum(np.sin(2 * np.pi * k * turns) * rng.uniform() / k for k in range(1, int(rng.integers(2, 20))))
    return made + rng.uniform(0, 0.3) * _noise(size, rng)


def tones(size: int, rng: np.random.Generator) -> np.ndarray:
    """One to three steady tones, or one that glides up and down as a siren does."""
    time = _time(size)
    if rng.random() < 0.5:
        tones = [np.sin(2 * np.pi * rng.uniform(80, 5000) * time) for _ in range(int(rng.integers(1, 4)))]
        return np.sum(tones, axis=0)
    low, high = np.sort(rng.uniform(200, 3000, 2))
    place = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.1, 4) * time)
    return np.sin(2 * np.pi * np.cumsum(low * (high / low) ** place) / SAMPLE_RATE)


def signals(size: int, rng: np.random.Generator) -> np.ndarray:
    """What a telephone or an alarm sends: a dial tone, ringing or engaged tone, keys that are pressed."""
    time = _time(size)
    if rng.random() < 0.3:  # keys
        period = rng.uniform(0.1, 0.5)
        key = (time / period).astype(int)
        rows = rng.choice(KEYPAD_ROWS, key[-1] + 1)[key]
        columns = rng.choice(KEYPAD_COLUMNS, key[-1] + 1)[key]
        pressed = time % period < rng.uniform(0.4, 0.9) * period
        return (np.sin(2 * np.pi * rows * time) + np.sin(2 * np.pi * columns * time)) * pressed
    pitches = DIAL_TONES[rng.integers(len(DIAL_TONES))]
    made = np.sum([np.sin(2 * np.pi * pitch * time) for pitch in pitches], axis=0)
    if rng.random() < 0.5:
        return made
    period = rng.uniform(0.2, 4)
    return made * ((time + rng.uniform(0, period)) % period < rng.uniform(0.25, 0.6) * period)


def music(size: int, rng: np.random.Generator) -> np.ndarray:
    """A tune with chords, plucked or held, with or without a beat."""
    time = _time(size)
    beat = rng.uniform(0.15, 0.6)  # seconds
    root = 55 * 2 ** rng.uniform(0, 2)  # Hz
    n_harmonics, decay = int(rng.integers(1, 9)), rng.uniform(0.5, 12)
    made = np.zeros(size)
    for start in np.arange(0, max(time[-1], beat), beat):
        place = slice(int(start * SAMPLE_RATE), int((start + 2 * beat) * SAMPLE_RATE))
        since = time[place] - start
        notes: list[float] = [2 ** (SCALE[rng.integers(len(SCALE))] / 12 + rng.integers(1, 3))]
        if rng.random() < 0.5:  # a chord on a step of the scale
            step = int(rng.integers(5))
            notes += [2 ** (SCALE[(step + third) % 7] / 12) for third in (0, 2, 4)]
        envelope = np.exp(-decay * since) * np.minimum(1, since / 0.01)
        for note in notes:
            made[place] += envelope * sum(
                np.sin(2 * np.pi * k * root * note * since) / k for k in range(1, n_harmonics + 1)
            )
    if rng.random() < 0.5:
        made += rng.uniform(0.5, 2) * _noise(size, rng) * np.exp(-rng.uniform(10, 60) * (time % (2 * beat)))
    return made


def knocks(size: int, rng: np.random.Generator) -> np.ndarray:
    """Knocks, clicks, steps or drops at random moments, each a burst that dies away, dull or ringing."""
    made = 0.01 * rng.uniform() * _noise(size, rng)
    for _ in range(int(rng.integers(1, 30))):
        length = int(rng.uniform(0.005, 0.3) * SAMPLE_RATE)
        start = int(rng.integers(max(1, size - length)))
        time = _time(min(length, size - start))
        burst = _noise(time.size, rng) + rng.uniform(0, 3) * np.sin(2 * np.pi * rng.uniform(100, 4000) * time)
        made[start : start + time.size] += rng.uniform(0.2, 1) * burst * np.exp(-time * rng.uniform(15, 300))
    return made


SOUNDS: MappingProxyType[str, Sound] = MappingProxyType(
    {
        "noise": noise,
        "hum": hum,
        "tones": tones,
        "signals": signals,
        "music": music,
        "knocks": knocks,
    }
)


def _time(size: int) -> np.ndarray:
    return np.arange(size) / SAMPLE_RATE


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a random colour, of unit power."""
    made = coloured_noise(size, rng, slope=rng.uniform(0, 2))
    return made / (np.sqrt(np.mean(np.square(made))) or 1.0)
