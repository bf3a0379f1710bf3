"""Feature extractors of the networks that are trained from scratch: log-mel spectrograms and MFCCs.

This file is copied into the folder of every such model, so it imports nothing of ser_hf (see `networks`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank


class LogMelExtractor(SequenceFeatureExtractor):
    """Makes log-mel spectrograms of waveforms; clips of a batch are padded to the longest, with a mask.

    Args:
        feature_size: mel bands.
        sampling_rate: of the waveforms, in Hz.
        padding_value: fills the frames after the end of a shorter clip.
        frame_length, hop_length: in samples.
        n_fft: points of the Fourier transform.
        min_frequency: lower edge of the lowest band, in Hz.
        floor: power that is added before the logarithm, about that of a silent recording.
        mean, std: with which the log-power of speech at a common level is standardised.
        subtract_mean: subtract each feature's mean over the clip, and so timbre, microphone and level (cepstral mean
            normalisation, Atal 1974).
    """

    model_input_names = ("input_features", "attention_mask")

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16_000,
        padding_value: float = 0.0,
        frame_length: int = 480,
        hop_length: int = 320,
        n_fft: int = 512,
        min_frequency: float = 50.0,
        floor: float = 1e-5,
        mean: float = -5.0,
        std: float = 4.0,
        subtract_mean: bool = True,
        **kwargs,
    ):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.frame_length, self.hop_length, self.n_fft = frame_length, hop_length, n_fft
        self.min_frequency, self.floor, self.mean, self.std = min_frequency, floor, mean, std
        self.subtract_mean = subtract_mean

    def __call__(
        self,
        raw_speech: np.ndarray | list[np.ndarray],
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Make model inputs of one waveform or of several.

        Args:
            raw_speech: mono waveforms (samples,).
            sampling_rate: theirs, in Hz, which must be the extractor's.
            padding, return_tensors: see `transformers.SequenceFeatureExtractor`.

        Returns:
            ``input_features`` (clips, frames, feature_size) and ``attention_mask`` (clips, frames), 1 for sound.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"the model takes audio at {self.sampling_rate} Hz, not at {sampling_rate} Hz")
        clips = [raw_speech] if np.ndim(raw_speech[0]) == 0 else raw_speech
        features = [self.features(np.asarray(clip, dtype=np.float32)) for clip in clips]
        if self.subtract_mean:
            features = [one - one.mean(axis=0) for one in features]
        batch = BatchFeature({"input_features": features})
        return self.pad(batch, padding=padding, return_attention_mask=True, return_tensors=return_tensors)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Features of one waveform, float32 (frames, feature_size)."""
        return self.log_mel(samples, self.feature_size)

    def log_mel(self, samples: np.ndarray, num_bands: int) -> np.ndarray:
        """Log-mel spectrogram of one waveform, float32 (frames, num_bands); one frame at least."""
        samples = np.pad(samples, (0, max(0, self.frame_length - samples.size)))
        frames = sliding_window_view(samples, self.frame_length)[:: self.hop_length]
        spectrum = np.fft.rfft(frames * np.hanning(self.frame_length).astype(np.float32), self.n_fft)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        filters = _mel_filters(num_bands, self.n_fft, self.min_frequency, self.sampling_rate)
        return ((np.log(power @ filters + self.floor) - self.mean) / self.std).astype(np.float32)


class MfccExtractor(LogMelExtractor):
    """Makes sequences of mel-frequency cepstral coefficients: the cosine transform of a log-mel spectrogram.

    Args:
        feature_size: coefficients, from the 0th on, which is the level.
        num_bands: mel bands.
    """

    def __init__(self, feature_size: int = 40, num_bands: int = 64, **kwargs):
        super().__init__(feature_size=feature_size, **kwargs)
        self.num_bands = num_bands

    def features(self, samples: np.ndarray) -> np.ndarray:
        return self.log_mel(samples, self.num_bands) @ _cosines(self.num_bands, self.feature_size)


@lru_cache
def _mel_filters(num_bands: int, n_fft: int, min_frequency: float, sampling_rate: int) -> np.ndarray:
    """Triangular filters (frequencies, bands), float32."""
    highest = sampling_rate / 2
    filters = mel_filter_bank(n_fft // 2 + 1, num_bands, min_frequency, highest, sampling_rate, mel_scale="htk")
    return filters.astype(np.float32)


@lru_cache
def _cosines(num_bands: int, num_coefficients: int) -> np.ndarray:
    """Orthonormal matrix (bands, coefficients) of the cosine transform."""
    bands, order = np.arange(num_bands), np.arange(num_coefficients)
    matrix = np.cos(np.pi / num_bands * np.outer(bands + 0.5, order)) * np.sqrt(2.0 / num_bands)
    matrix[:, 0] /= np.sqrt(2.0)
    return matrix.astype(np.float32)


LogMelExtractor.register_for_auto_class()
MfccExtractor.register_for_auto_class()
