"""The out-of-domain score: its scale, its invariances and its file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ser_hf.models import ModelError
from ser_hf.models.familiarity import FILE, Familiarity, fit_familiarity, load_familiarity, save_familiarity

SIZE = 6
SPREAD = np.array([1, 2, 4, 0.5, 1, 3.0])


def make_states(seed: int = 0, n_speakers: int = 12, n_clips: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Clips around a mean of each speaker's own; speakers."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(n_speakers), n_clips)
    means = 0.3 * rng.standard_normal((n_speakers, SIZE))
    return 10 + SPREAD * (means[speakers] + rng.standard_normal((len(speakers), SIZE))), speakers


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    return fit_familiarity(*make_states(), layer=1)


def test_distance_of_one_is_the_99th_percentile(familiarity):
    distances = familiarity.distances(make_states(seed=1)[0])
    assert 0.001 < (distances > 1).mean() < 0.05
    assert distances.min() >= 0


def test_distance_grows_in_standard_deviations(familiarity):
    near, far, farther = (familiarity.distances(10 + times * SPREAD[None])[0] for times in (1, 5, 10))
    assert near < 1 < far < farther
    assert farther == pytest.approx(2 * far, rel=0.1)
    steps = familiarity.distances(familiarity.mean + np.diag(SPREAD))  # one deviation along each dimension
    assert steps == pytest.approx(np.full(SIZE, steps.mean()), rel=0.15)


def test_distance_is_scaled_on_held_out_speakers():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 40)
    apart = 20 * rng.standard_normal((10, SIZE))[speakers] + rng.standard_normal((400, SIZE))
    assert (fit_familiarity(apart, speakers, layer=0).distances(apart) > 1).mean() == 0
    assert fit_familiarity(apart[:40], speakers[:40], layer=0) is None  # a single speaker


@given(seed=st.integers(0, 1000), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_distance_does_not_depend_on_units(seed, shift, scale):
    states, speakers = make_states(seed, n_speakers=4, n_clips=20)
    first = fit_familiarity(states, speakers, 0).distances(states)
    again = fit_familiarity(states * scale + shift, speakers, 0).distances(states * scale + shift)
    assert np.allclose(first, again, rtol=1e-2)


def test_familiarity_is_saved_and_loaded(familiarity, tmp_path):
    assert load_familiarity(tmp_path, n_layers=2, size=SIZE) is None
    save_familiarity(familiarity, tmp_path)
    again = load_familiarity(tmp_path, n_layers=2, size=SIZE)
    states = make_states(seed=3)[0]
    assert again.layer == 1
    assert np.array_equal(again.distances(states), familiarity.distances(states))


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(SIZE + 1, np.float32)},
        {"whitening": np.full((SIZE, SIZE), np.nan, np.float32)},
        {"layer": np.array([3])},
        {"more": np.zeros(1)},
        None,
    ],
    ids=["size", "nan", "layer", "more", "damaged"],
)
def test_load_refuses_files_that_do_not_fit(familiarity, tmp_path, change):
    save_familiarity(familiarity, tmp_path)
    if change is None:
        (tmp_path / FILE).write_bytes(b"no tensors")
    else:
        save_file(load_file(tmp_path / FILE) | change, tmp_path / FILE)
    with pytest.raises(ModelError, match=FILE):
        load_familiarity(tmp_path, n_layers=2, size=SIZE)
