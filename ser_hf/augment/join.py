"""Two utterances of one speaker joined, so that neither length nor words identify the emotion."""

from __future__ import annotations

import numpy as np

from ser_hf.audio import SAMPLE_RATE, trim_silence

PAUSE_SECONDS = (0.05, 0.5)  # between the two
LEAST_SECONDS = 1.2  # a stretch as short as that still holds a word or two


def join_utterances(first: np.ndarray, second: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Concatenate two utterances, and take a stretch of random length from a random place.

    Args:
        first, second: of the same speaker with the same emotion; the silence around each is cut off.
        window: longest stretch, in samples.
        rng: where the pause, the stretch, and the silence before it (none in half of the cases) are drawn from.

    Returns:
        At most ``window`` samples, and at least 1.2 s where the two hold as much.
    """
    pause = np.zeros(int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), np.float32)
    joined = np.concatenate([trim_silence(first), pause, trim_silence(second)])
    length = int(rng.uniform(min(LEAST_SECONDS * SAMPLE_RATE, window), window))
    start = int(rng.integers(max(1, joined.size - length + 1)))
    stretch = joined[start : start + length]
    if rng.random() < 0.5:
        stretch = np.pad(stretch, (int(rng.uniform(0, window - stretch.size)), 0))
    return stretch
