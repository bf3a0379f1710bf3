import importlib.util
import sys

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import logm

from ser_hf.audio import SAMPLE_RATE, trim_silence
from ser_hf.features import (
    DELTA_SCALES,
    GROUPS,
    N_COVARIANCE,
    MissingPackageError,
    _opensmile,
    extract,
    feature_names,
)
from ser_hf.features.frames import Frames
from tests.synthetic import make_clip

HAS_OPENSMILE = importlib.util.find_spec("opensmile") is not None
needs_opensmile = pytest.mark.skipif(
    not HAS_OPENSMILE, reason="openSMILE is not installed: pip install -r requirements-egemaps.txt (read its licence)"
)
AVAILABLE = tuple(group for group in GROUPS if group != "egemaps" or HAS_OPENSMILE)
EACH_GROUP = [pytest.param(group, marks=needs_opensmile if group == "egemaps" else ()) for group in GROUPS]

TIMES = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def features(samples, *groups):
    return dict(zip(feature_names(groups), extract(np.asarray(samples, np.float32), groups), strict=True))


def voice(pitch, seconds=1.0):
    """Harmonics of a steady pitch (Hz) or of one that moves (an array)."""
    pitch = np.broadcast_to(pitch, round(seconds * SAMPLE_RATE))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    return 0.1 * sum(np.sin(k * phase) / k for k in range(1, 8))


def noise(seconds=1.0, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))


@given(pitch=st.floats(80, 500))
def test_pitch_of_a_steady_voice(pitch):
    found = features(voice(pitch), "pitch")
    assert found["pitch_p50"] == pytest.approx(12 * np.log2(pitch / 100), abs=0.2)
    assert found["pitch_std"] < 0.3
    assert found["voiced_fraction"] > 0.9


def test_pitch_slope_and_range_of_a_glide():
    found = features(voice(np.geomspace(120, 240, SAMPLE_RATE)), "pitch")
    assert found["pitch_slope"] == pytest.approx(6, abs=0.5)  # semitones in half of the clip
    assert found["pitch_range"] == pytest.approx(12 * 0.9, abs=0.6)
    assert found["pitch_step_mean"] == pytest.approx(12 / 100, abs=0.03)


def test_pitch_ignores_unvoiced_frames():
    found = features(np.concatenate([voice(150), noise()]), "pitch")
    assert found["pitch_p50"] == pytest.approx(12 * np.log2(1.5), abs=0.2)
    assert found["pitch_std"] < 0.5
    assert found["voiced_fraction"] == pytest.approx(0.5, abs=0.06)


def test_pitch_measures_voiced_stretches():
    found = features(np.concatenate([voice(150, 0.5), noise(0.5), voice(150, 0.3), noise(0.2)]), "pitch")
    assert found["voiced_stretches_per_second"] == pytest.approx(2 / 1.5, abs=0.05)
    assert found["voiced_stretch_max"] == pytest.approx(0.5, abs=0.06)
    assert found["voiced_stretch_mean"] == pytest.approx(0.4, abs=0.06)


def test_energy_of_a_full_scale_sine():
    found = features(np.sin(2 * np.pi * 440 * TIMES), "energy")
    assert found["energy_max"] == pytest.approx(-3.01, abs=0.1)


@settings(max_examples=15)
@given(gain_db=st.floats(-30, 20))
def test_gain_changes_absolute_levels_only(gain_db):
    samples = 0.1 * make_clip("sad")
    groups = ("energy", "covariance", "pitch", "temporal")
    before, after = features(samples, *groups), features(samples * 10 ** (gain_db / 20), *groups)
    for name, value in before.items():
        moved = gain_db if name in ("energy_mean", "energy_max") else 0
        assert after[name] == pytest.approx(value + moved, abs=0.05), name


@given(before=st.integers(0, 80), after=st.integers(0, 8000))
def test_silence_at_both_ends_is_trimmed(before, after):
    samples = trim_silence(make_clip("angry"))
    padded = np.concatenate([np.zeros(160 * before), samples, np.zeros(after)])
    np.testing.assert_allclose(extract(padded.astype(np.float32), ["mfcc"]), extract(samples, ["mfcc"]), atol=1e-3)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # a click is shorter than the textbook's window
@pytest.mark.parametrize("seconds", [0.25, 1.7])
@pytest.mark.parametrize("kind", ["noise", "silence", "click", "constant"])
def test_features_are_finite_but_for_missing_pitch(kind, seconds):
    names = feature_names(AVAILABLE)
    assert len(set(names)) == len(names)
    samples = {
        "noise": noise(seconds),
        "silence": np.zeros(round(seconds * SAMPLE_RATE)),
        "click": np.eye(1, round(seconds * SAMPLE_RATE), 1000)[0],
        "constant": np.full(round(seconds * SAMPLE_RATE), 0.3),
    }[kind]
    found = features(samples, *AVAILABLE)
    missing = {name for name, value in found.items() if not np.isfinite(value)}
    assert missing <= set(feature_names(["pitch"]))
    assert not np.isinf(list(found.values())).any()
    if kind in ("noise", "silence"):
        assert {"pitch_mean", "pitch_std", "pitch_p50", "pitch_slope"} <= missing
        assert found["voiced_fraction"] == 0


def test_spectral_features_of_a_sine():
    found = features(0.5 * np.sin(2 * np.pi * 1000 * TIMES), "spectral", "zcr")
    assert found["centroid_mean"] == pytest.approx(1000, rel=0.05)
    assert found["rolloff_mean"] == pytest.approx(1000, rel=0.05)
    assert found["zcr_mean"] == pytest.approx(2 * 1000 / SAMPLE_RATE, rel=0.05)
    assert features(noise(), "spectral")["flatness_mean"] > found["flatness_mean"] + 3


def test_chroma_finds_the_pitch_class():
    found = features(0.5 * np.sin(2 * np.pi * 440 * TIMES), "chroma")
    means = [found[f"chroma{index:02d}_mean"] for index in range(12)]
    assert np.argmax(means) == 9  # A, counted from C


def test_onset_rate_counts_bursts():
    struck = voice(200, 0.25) * np.exp(-20 * TIMES[: SAMPLE_RATE // 4])
    found = features(np.tile(struck, 12), "temporal")
    assert found["onset_rate"] == pytest.approx(4, abs=0.5)
    assert found["duration"] == pytest.approx(3, abs=0.25)


def test_covariance_is_the_matrix_logarithm():
    samples = make_clip("fearful")
    frames = Frames(samples)
    parts = zip(DELTA_SCALES, (frames.mfcc, *frames.mfcc_deltas), strict=True)
    covariance = np.cov(np.concatenate([scale * part[:N_COVARIANCE] for scale, part in parts]), bias=True)
    expected = logm(covariance + np.eye(len(covariance)))
    np.testing.assert_allclose(extract(samples, ["covariance"]), expected[np.triu_indices(39)], atol=1e-3)


def test_textbook_features_are_those_of_librosa():
    samples = make_clip("calm")
    mfcc = librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE, n_mfcc=40)
    np.testing.assert_allclose(extract(samples, ["textbook"]), [*mfcc.mean(axis=1), *mfcc.std(axis=1)], rtol=1e-4)


def test_extract_refuses_unknown_groups_and_empty_clips():
    with pytest.raises(ValueError, match=r"no feature group 'formants'; there are: pitch, energy"):
        extract(make_clip("calm"), ["formants"])
    with pytest.raises(ValueError, match="no samples"):
        extract(np.zeros(0, np.float32), ["zcr"])


@needs_opensmile
def test_egemaps_are_those_of_opensmile():
    import opensmile

    samples = trim_silence(make_clip("happy"))
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(samples, SAMPLE_RATE)
    assert feature_names(["egemaps"]) == [f"egemaps_{name}" for name in expected.columns]
    assert len(feature_names(["egemaps"])) == 88
    np.testing.assert_allclose(extract(samples, ["egemaps"]), expected.to_numpy()[0], rtol=1e-5)


@needs_opensmile
@pytest.mark.parametrize(
    "samples", [np.full(1, 0.1), noise(0.02), np.zeros(SAMPLE_RATE)], ids=["one", "short", "silence"]
)
def test_egemaps_of_short_clips_are_finite(samples):
    assert np.isfinite(extract(samples.astype(np.float32), ["egemaps"])).all()


def test_egemaps_without_opensmile_name_its_licence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    _opensmile.cache_clear()
    with pytest.raises(MissingPackageError, match=r"requirements-egemaps\.txt; openSMILE.*non-commercial"):
        extract(make_clip("calm"), ["egemaps"])
