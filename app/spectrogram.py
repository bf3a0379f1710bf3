"""The picture of a sound: how strong it is, at each time, in each band of pitch."""

from __future__ import annotations

import librosa
import numpy as np

from ser_hf.audio import SAMPLE_RATE

N_FFT, HOP = 1024, 160
N_MELS, TOP_HZ = 64, 8000.0
TOP_DB = 80  # what is farther below the loudest is drawn as silence
COLUMNS = 800  # at most; then each has several frames
BLOCK_FRAMES = 4000  # at a time, because the spectrum of a whole recording may take a gigabyte


def mel_spectrogram(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """The power of a recording in 64 mel bands up to 8 kHz, in at most 800 columns.

    Args:
        samples: float32 mono at 16 kHz, shape (n,), at least one.

    Returns:
        uint8 (64, columns), the lowest band first, in dB from 0 to 80, which is the loudest; and the number of frames
        in a column, which shows the loudest of them. Frame ``i`` is that at ``i * HOP`` samples.
    """
    padded = np.pad(samples, N_FFT // 2)  # so that frames are centred on multiples of the hop
    n_frames = 1 + len(samples) // HOP
    pooled = -(-n_frames // COLUMNS)
    block = BLOCK_FRAMES // pooled * pooled
    columns = []
    for first in range(0, n_frames, block):
        count = min(block, n_frames - first)
        power = librosa.feature.melspectrogram(
            y=padded[first * HOP : (first + count - 1) * HOP + N_FFT],
            sr=SAMPLE_RATE,
            n_fft=N_FFT,
            hop_length=HOP,
            center=False,
            n_mels=N_MELS,
            fmax=TOP_HZ,
        )
        columns.append(np.maximum.reduceat(power, np.arange(0, count, pooled), axis=1))
    decibels = librosa.power_to_db(np.concatenate(columns, axis=1), ref=np.max, top_db=TOP_DB)
    return np.rint(decibels + TOP_DB).astype(np.uint8), pooled


def mel_row(hertz: float) -> float:
    """Where among the rows of `mel_spectrogram` a frequency lies; 0 is the middle of the lowest band."""
    centres = librosa.mel_frequencies(N_MELS + 2, fmax=TOP_HZ)[1:-1]
    return float(np.interp(hertz, centres, np.arange(N_MELS)))
