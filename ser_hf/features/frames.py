"""Frame-level measures of a clip's speech: spectrogram, mel bands, MFCCs, level and pitch."""

from __future__ import annotations

from functools import cached_property, lru_cache

import librosa
import numpy as np
from scipy.fft import dct

from ser_hf.audio import SAMPLE_RATE, trim_silence

N_FFT = 1024
HOP = 160
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
N_MELS = 64
N_MFCC = 30
MEL_FLOOR = 1e-8  # 80 dB below the loudest mel band of the clip

PITCH_RANGE = (65.0, 600.0)  # Hz: from a deep man to a shouting woman
VOICED_PERIODICITY = 0.5
VOICED_DB = 35.0  # frames farther below the loudest are unvoiced


class Frames:
    """Frame-level measures of one clip, trimmed of silence; each property is computed once, when first used.

    Args:
        samples: float32 mono at 16 kHz, at least one sample.
    """

    def __init__(self, samples: np.ndarray) -> None:
        if not len(samples):
            raise ValueError("there are no samples to compute features of")
        self.untrimmed = samples
        self.samples = trim_silence(samples)
        self.padded = np.pad(self.samples, N_FFT // 2)  # so that frames are centred on multiples of the hop
        self.seconds = len(self.samples) / SAMPLE_RATE

    @cached_property
    def magnitude(self) -> np.ndarray:
        """Spectrogram, (513, frames)."""
        return np.abs(librosa.stft(self.padded, n_fft=N_FFT, hop_length=HOP, center=False))

    @cached_property
    def log_mel(self) -> np.ndarray:
        """Natural logarithm of mel band power, (64, frames), no lower than 80 dB below its maximum."""
        mel = _mel_filters() @ self.magnitude**2
        return np.log(np.maximum(mel, max(mel.max() * MEL_FLOOR, np.finfo(np.float32).tiny)))

    @cached_property
    def mfcc(self) -> np.ndarray:
        """Mel-frequency cepstral coefficients, (30, frames)."""
        return dct(self.log_mel, axis=0, norm="ortho")[:N_MFCC]

    @cached_property
    def mfcc_deltas(self) -> tuple[np.ndarray, np.ndarray]:
        """First and second differences of the MFCCs over nine frames, each (30, frames)."""
        first, second = (librosa.feature.delta(self.mfcc, width=9, order=order, mode="nearest") for order in (1, 2))
        return first, second

    @cached_property
    def level(self) -> np.ndarray:
        """RMS energy in dB re full scale, (frames,), no lower than -120."""
        rms = librosa.feature.rms(y=self.padded, frame_length=N_FFT, hop_length=HOP, center=False)[0]
        return 20 * np.log10(np.maximum(rms, 1e-6))

    @cached_property
    def pitch_and_periodicity(self) -> tuple[np.ndarray, np.ndarray]:
        """Pitch in Hz, NaN where unvoiced, and periodicity (1 = periodic, 0 = noise), each (frames,).

        Pitch is that of YIN (de Cheveigné & Kawahara 2002). Periodicity is the normalised autocorrelation at its period
        (Boersma 1993): pYIN's voicing decision is as good and takes twenty times as long.
        """
        # librosa's YIN takes small correlations for zero, and some clips are very quiet.
        padded = self.padded / max(np.abs(self.padded).max(), np.finfo(np.float32).tiny)
        low, high = PITCH_RANGE
        pitch = librosa.yin(
            padded, fmin=low, fmax=high, sr=SAMPLE_RATE, frame_length=N_FFT, hop_length=HOP, center=False
        )
        frames = librosa.util.frame(padded, frame_length=N_FFT, hop_length=HOP, axis=0)
        frames = frames - frames.mean(axis=1, keepdims=True)
        window = np.hanning(N_FFT)
        correlation = _autocorrelation(frames * window) / _autocorrelation(window)
        correlation /= np.maximum(correlation[:, :1], 1e-12)
        period = np.rint(SAMPLE_RATE / pitch).astype(int)[:, None] + np.array([-1, 0, 1])
        periodicity = np.take_along_axis(correlation, period, axis=1).max(axis=1)
        loud = self.level > self.level.max() - VOICED_DB
        # YIN returns the highest pitch of its range where it finds none.
        voiced = (periodicity > VOICED_PERIODICITY) & loud & (pitch < 0.99 * high)
        return np.where(voiced, pitch, np.nan), periodicity


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Autocorrelation along the last axis, from lag 0 to half its length."""
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[-1])) ** 2
    return np.fft.irfft(power)[..., : frames.shape[-1] // 2]


@lru_cache
def _mel_filters() -> np.ndarray:
    """Slaney's mel filters from 50 Hz to 8 kHz, (64, 513)."""
    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=50.0)
