"""Adapting to a speaker: the shift of a speaker whose log-probabilities are moved is found and taken back."""

import numpy as np
import pytest

from ser_hf.adapt import in_label_order, make_reference, shifted, speaker_shift

NAMES = ["neutral", "sad", "glad"]


def made(n_speakers, n_clips, seed=0):
    """Probabilities of speakers without a shift, their speakers and labels."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), n_speakers * n_clips // 3)
    logits = rng.normal(0, 1, (len(labels), 3)) + 2 * np.eye(3)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), np.arange(len(labels)) // n_clips, labels


def test_speaker_shift_takes_back_a_shift():
    reference = in_label_order(make_reference(*made(20, 30), NAMES), NAMES)
    probabilities, _, labels = made(1, 300, seed=1)
    moved = shifted(probabilities, np.array([-1.5, 0, 1.0]))
    shift = speaker_shift(moved, reference)
    back = shifted(moved, shift)
    np.testing.assert_allclose(back.sum(axis=1), 1)
    right = [(one.argmax(axis=1) == labels).mean() for one in (moved, back, probabilities)]
    assert right[0] < right[1] <= right[2] + 0.02


def test_speaker_shift_shrinks_with_few_recordings():
    reference = in_label_order(make_reference(*made(20, 30), NAMES), NAMES)
    moved = shifted(made(1, 300, seed=1)[0], np.array([-1.5, 0, 1.0]))
    few, many = (
        speaker_shift(np.tile(moved[:3], (1, 1)), reference),
        speaker_shift(np.tile(moved[:3], (50, 1)), reference),
    )
    np.testing.assert_allclose(few / many, (3 / 8) / (150 / 155))


def test_neutral_reference_is_of_neutral_clips():
    probabilities, speakers, labels = made(20, 30)
    reference = in_label_order(make_reference(probabilities, speakers, labels, NAMES), NAMES)
    assert speaker_shift(probabilities[labels == 0], reference, neutral=True) == pytest.approx(0, abs=0.05)
    assert "neutral" not in make_reference(probabilities, speakers, labels, ["a", "b", "c"])


def test_in_label_order_reorders_or_gives_nothing():
    reference = make_reference(*made(4, 30), NAMES)
    turned = in_label_order(reference, NAMES[::-1])
    np.testing.assert_allclose(turned["mean"], np.array(reference["mean"])[::-1])
    np.testing.assert_allclose(turned["by_label"], np.array(reference["by_label"])[::-1, ::-1])
    assert in_label_order(reference, ["a", "b", "c"]) == {}
    assert in_label_order(None, NAMES) == {}
