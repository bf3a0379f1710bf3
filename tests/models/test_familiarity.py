"""How far a sound is from the voices a model learned from."""

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


def voices(seed: int = 0, n_speakers: int = 12, n_clips: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Clips around a mean of each speaker's own."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(n_speakers), n_clips)
    means = 0.3 * rng.standard_normal((n_speakers, SIZE))
    return 10 + SPREAD * (means[speakers] + rng.standard_normal((len(speakers), SIZE))), speakers


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    return fit_familiarity(*voices(), layer=1)


def test_about_a_hundredth_of_the_clips_of_other_speakers_is_farther_than_one(familiarity):
    distances = familiarity.distances(voices(seed=1)[0])
    assert 0.001 < (distances > 1).mean() < 0.05
    assert distances.min() >= 0


def test_what_is_elsewhere_is_far_and_farther_the_more_it_is(familiarity):
    near, far, farther = (familiarity.distances(10 + times * SPREAD[None])[0] for times in (1, 5, 10))
    assert near < 1 < far < farther
    assert farther == pytest.approx(2 * far, rel=0.1)


def test_distance_counts_in_spreads_not_in_units(familiarity):
    """A step of one deviation is as far along a wide dimension as along a narrow one."""
    steps = familiarity.distances(familiarity.mean + np.diag(SPREAD))
    assert steps == pytest.approx(np.full(SIZE, steps.mean()), rel=0.15)


def test_the_limit_is_that_of_speakers_held_out_not_of_those_learned_from():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 40)
    apart = 20 * rng.standard_normal((10, SIZE))[speakers] + rng.standard_normal((400, SIZE))
    fitted = fit_familiarity(apart, speakers, layer=0)
    # Seen from the others, each of these speakers is a stranger; the clips themselves are all within the limit.
    assert (fitted.distances(apart) > 1).mean() == 0


@given(seed=st.integers(0, 1000), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_units_do_not_matter(seed, shift, scale):
    states, speakers = voices(seed, n_speakers=4, n_clips=20)
    first = fit_familiarity(states, speakers, 0).distances(states)
    again = fit_familiarity(states * scale + shift, speakers, 0).distances(states * scale + shift)
    assert np.allclose(first, again, rtol=1e-2)


def test_a_single_speaker_leaves_nobody_to_hold_out():
    states, speakers = voices(n_speakers=1)
    assert fit_familiarity(states, speakers, 0) is None


def test_what_is_saved_is_what_is_loaded(familiarity, tmp_path):
    assert load_familiarity(tmp_path, n_layers=2, size=SIZE) is None
    save_familiarity(familiarity, tmp_path)
    again = load_familiarity(tmp_path, n_layers=2, size=SIZE)
    states = voices(seed=3)[0]
    assert again.layer == 1
    assert np.array_equal(again.distances(states), familiarity.distances(states))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": np.zeros(SIZE + 1, np.float32)}, "does not fit the model"),
        ({"whitening": np.full((SIZE, SIZE), np.nan, np.float32)}, "does not fit the model"),
        ({"layer": np.array([3])}, "is of layer 3 of 2"),
        ({"more": np.zeros(1)}, "does not fit the model"),
    ],
    ids=["size", "nan", "layer", "more"],
)
def test_what_belongs_to_another_model_is_refused(familiarity, tmp_path, change, words):
    save_familiarity(familiarity, tmp_path)
    save_file(load_file(tmp_path / FILE) | change, tmp_path / FILE)
    with pytest.raises(ModelError, match=words):
        load_familiarity(tmp_path, n_layers=2, size=SIZE)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_familiarity(tmp_path, n_layers=2, size=SIZE)
