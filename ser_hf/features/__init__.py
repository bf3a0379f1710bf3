"""Engineered features of a clip: named groups of statistics over the frames of its voice.

Silence at both ends is trimmed first, and all groups share one spectrogram (64 ms Hann windows, 10 ms hop). A new group
is a function of `Frames` and a line of `GROUP_FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import librosa
import numpy as np

from ser_hf.audio import SAMPLE_RATE
from ser_hf.errors import SerHfError
from ser_hf.features.frames import FRAMES_PER_SECOND, HOP, Frames
from ser_hf.utils.names import unknown_name

EGEMAPS_LICENCE = (
    "openSMILE is free for non-commercial purposes only (research, teaching, personal use); without a licence of "
    "audEERING, neither it nor a model that was trained on its features may be used in a product"
)
MIN_EGEMAPS_SECONDS = 0.1  # openSMILE computes no functionals of less

FEATURES_VERSION = 1  # raise it whenever a feature changes: cached rows and saved models of another are not used

N_COVARIANCE = 13
DELTA_SCALES = (1.0, 3.0, 10.0)  # bring MFCCs and their first and second differences to about one scale

Features = dict[str, float]
MEAN_STD: dict[str, Callable] = {"mean": np.mean, "std": np.std}


class MissingPackageError(SerHfError, ImportError):
    """A feature group needs a package that is not installed; the message names it, its licence and the remedy."""


def pitch_features(frames: Frames) -> Features:
    """Pitch over the voiced frames, in semitones re 100 Hz (NaN without any), and voicing."""
    pitch, periodicity = frames.pitch_and_periodicity
    voiced = ~np.isnan(pitch)
    contour = 12 * np.log2(pitch / 100)
    semitones = contour[voiced]
    steps = np.diff(contour)
    steps = steps[~np.isnan(steps)]  # both frames voiced
    edges = np.flatnonzero(np.diff(voiced, prepend=False, append=False))
    stretches = (edges[1::2] - edges[::2]) / FRAMES_PER_SECOND
    places = np.linspace(-1, 1, len(contour))[voiced]
    parabola = np.polynomial.polynomial.polyfit(places, semitones, 2) if len(semitones) > 2 else np.full(3, np.nan)
    percentiles = _percentiles("pitch", semitones)
    return {
        **_summary("pitch", semitones, MEAN_STD),
        **percentiles,
        "pitch_range": percentiles["pitch_p95"] - percentiles["pitch_p05"],
        "pitch_middle": parabola[0],
        "pitch_slope": parabola[1],
        "pitch_curvature": parabola[2],
        **_summary("pitch_step", np.abs(steps), {"mean": np.mean}),
        **_summary("pitch_step", steps, {"std": np.std}),
        **_percentiles("pitch_step", steps, (5, 95)),
        "voiced_fraction": voiced.mean(),
        "voiced_stretches_per_second": len(stretches) / frames.seconds,
        **_summary("voiced_stretch", stretches, {"mean": np.mean, "max": np.max}),
        **_summary("voiced_periodicity", periodicity[voiced], MEAN_STD),
        **_summary("periodicity", periodicity, MEAN_STD),
        **_percentiles("periodicity", periodicity),
    }


def energy_features(frames: Frames) -> Features:
    """RMS energy in dB re full scale, its range, and its course over the clip re the loudest frame."""
    level = frames.level
    course = np.interp(np.linspace(0, len(level) - 1, 10), np.arange(len(level)), level - level.max())
    return {
        **_statistics("energy", level),
        "energy_max": level.max(),
        "energy_range": np.subtract(*np.percentile(level, (95, 5))),
        **_named("energy_at", "tenth", course),
    }


def mfcc_features(frames: Frames) -> Features:
    """30 MFCCs with their first and second differences."""
    return {**_statistics("mfcc", frames.mfcc), **_named("mfcc", "delta2_std", frames.mfcc_deltas[1].std(axis=1))}


def chroma_features(frames: Frames) -> Features:
    """Energy in the twelve pitch classes, from C."""
    return _statistics("chroma", librosa.feature.chroma_stft(S=frames.magnitude**2, sr=SAMPLE_RATE, tuning=0.0))


def contrast_features(frames: Frames) -> Features:
    """Spectral contrast in dB below 100 Hz and in six octaves above (Jiang et al. 2002)."""
    contrast = librosa.feature.spectral_contrast(S=frames.magnitude, sr=SAMPLE_RATE, fmin=100.0, n_bands=6)
    return _statistics("contrast", contrast)


def zcr_features(frames: Frames) -> Features:
    """Share of samples, in 32 ms, at which the waveform changes its sign."""
    return _statistics("zcr", librosa.feature.zero_crossing_rate(frames.samples, frame_length=512, hop_length=HOP)[0])


def spectral_features(frames: Frames) -> Features:
    """Centroid, bandwidth and rolloff (85 %) of the spectrum in Hz, and the logarithm of its flatness."""
    spectrum = frames.magnitude
    measures = {
        "centroid": librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE),
        "bandwidth": librosa.feature.spectral_bandwidth(S=spectrum, sr=SAMPLE_RATE),
        "rolloff": librosa.feature.spectral_rolloff(S=spectrum, sr=SAMPLE_RATE),
        "flatness": np.log(librosa.feature.spectral_flatness(S=spectrum)),
    }
    return {key: value for name, rows in measures.items() for key, value in _statistics(name, rows[0]).items()}


def temporal_features(frames: Frames) -> Features:
    """Length of the speech in seconds, onsets per second, tempo in beats per minute, and onset strength."""
    decibels = 10 / np.log(10) * frames.log_mel
    strength = librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, hop_length=HOP)
    onsets = librosa.onset.onset_detect(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)
    return {
        "duration": frames.seconds,
        "onset_rate": len(onsets) / frames.seconds,
        "tempo": librosa.feature.tempo(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)[0],
        **_summary("onset_strength", strength, MEAN_STD),
        **_percentiles("onset_strength", strength),
    }


def covariance_features(frames: Frames) -> Features:
    """Covariance over time of 13 MFCCs and their differences, as the matrix logarithm (Arsigny et al. 2006).

    Covariances lie on a curved manifold; their logarithms are vectors whose distances mean something to an SVM.
    """
    parts = (frames.mfcc, *frames.mfcc_deltas)
    rows = np.concatenate([scale * part[:N_COVARIANCE] for scale, part in zip(DELTA_SCALES, parts, strict=True)])
    centred = rows - rows.mean(axis=1, keepdims=True)
    eigenvalues, eigenvectors = np.linalg.eigh(centred @ centred.T / rows.shape[1] + np.eye(len(rows)))
    logarithm = (eigenvectors * np.log(eigenvalues)) @ eigenvectors.T
    upper = zip(*np.triu_indices(len(logarithm)), strict=True)
    return {f"covariance_{i:02d}_{j:02d}": logarithm[i, j] for i, j in upper}


def textbook_features(frames: Frames) -> Features:
    """Mean and deviation of 40 MFCCs of the whole clip at librosa's defaults, as most tutorials take them."""
    mfcc = librosa.feature.mfcc(y=frames.untrimmed, sr=SAMPLE_RATE, n_mfcc=40)
    return {**_named("textbook", "mean", mfcc.mean(axis=1)), **_named("textbook", "std", mfcc.std(axis=1))}


def egemaps_features(frames: Frames) -> Features:
    """The 88 functionals of eGeMAPS v02 (Eyben et al. 2016), the field's standard set of features, by openSMILE."""
    missing = round(MIN_EGEMAPS_SECONDS * SAMPLE_RATE) - len(frames.samples)
    smile = _opensmile()
    values = smile(np.pad(frames.samples, (0, max(missing, 0))), SAMPLE_RATE).ravel()
    return {f"egemaps_{name}": value for name, value in zip(smile.feature_names, values, strict=True)}


@lru_cache
def _opensmile() -> Any:
    try:
        import opensmile  # an extra requirement, for the sake of its licence
    except ImportError as error:
        raise MissingPackageError(
            f"the feature group 'egemaps' needs a package that is not here ({error}): "
            f"pip install -r requirements-egemaps.txt; {EGEMAPS_LICENCE}"
        ) from None
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


GROUP_FUNCTIONS: dict[str, Callable[[Frames], Features]] = {
    "pitch": pitch_features,
    "energy": energy_features,
    "mfcc": mfcc_features,
    "chroma": chroma_features,
    "contrast": contrast_features,
    "zcr": zcr_features,
    "spectral": spectral_features,
    "temporal": temporal_features,
    "covariance": covariance_features,
    "textbook": textbook_features,
    "egemaps": egemaps_features,
}
GROUPS = tuple(GROUP_FUNCTIONS)


def extract(samples: np.ndarray, groups: Iterable[str]) -> np.ndarray:
    """The features of one clip.

    Args:
        samples: float32 mono at 16 kHz, at least one sample; silence at both ends matters to `textbook` alone.
        groups: names out of `GROUPS`.

    Returns:
        float32, one value for each of `feature_names(groups)`; NaN where a value does not exist, such as the pitch of
        an unvoiced clip.

    Raises:
        MissingPackageError: `egemaps` is named and openSMILE is not installed.
    """
    return np.array(list(_features(samples, groups).values()), dtype=np.float32)


def feature_names(groups: Iterable[str]) -> list[str]:
    """The names of the features of these groups, in the order in which `extract` returns them."""
    return [name for group in dict.fromkeys(groups) for name in _feature_names(group)]


@lru_cache
def _feature_names(group: str) -> tuple[str, ...]:
    # Noise, so that librosa compiles everything before processes share the work: two that write numba's cache at the
    # same time can leave it such that the next one crashes.
    noise = np.random.default_rng(0).normal(scale=0.1, size=SAMPLE_RATE // 2).astype(np.float32)
    return tuple(_features(noise, [group]))


def _features(samples: np.ndarray, groups: Iterable[str]) -> Features:
    unknown = [group for group in groups if group not in GROUP_FUNCTIONS]
    if unknown:
        raise ValueError(unknown_name("feature group", unknown[0], GROUPS))
    frames = Frames(samples)
    return {name: value for group in groups for name, value in GROUP_FUNCTIONS[group](frames).items()}


def _statistics(name: str, rows: np.ndarray) -> Features:
    """Mean and deviation, and the deviation and mean size of the change over nine frames, of each row of frames."""
    deltas = librosa.feature.delta(rows, width=9, mode="nearest")
    statistics = {
        "mean": rows.mean(axis=-1),
        "std": rows.std(axis=-1),
        "delta_std": deltas.std(axis=-1),
        "delta_size": np.abs(deltas).mean(axis=-1),
    }
    return {key: value for what, values in statistics.items() for key, value in _named(name, what, values).items()}


def _percentiles(name: str, values: np.ndarray, percents: Iterable[int] = (5, 25, 50, 75, 95)) -> Features:
    return {f"{name}_p{q:02d}": np.percentile(values, q) if len(values) else np.nan for q in percents}


def _summary(name: str, values: np.ndarray, functions: dict[str, Callable]) -> Features:
    return {f"{name}_{what}": function(values) if len(values) else np.nan for what, function in functions.items()}


def _named(name: str, what: str, values: np.ndarray) -> Features:
    if np.ndim(values) == 0:
        return {f"{name}_{what}": float(values)}
    return {f"{name}{index:02d}_{what}": value for index, value in enumerate(values)}
