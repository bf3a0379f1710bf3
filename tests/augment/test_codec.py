"""Codecs: real ones, which keep loudness and place."""

from __future__ import annotations

import numpy as np
import pytest

from ser_hf.augment import CODECS, add_noise, apply_codec
from tests.augment.measures import SPEECH, delay, level
from tests.synthetic import tone

RATES = [(codec, rate) for codec, settings in CODECS.items() for rate in settings.bit_rates]


@pytest.mark.parametrize(("codec", "rate"), RATES)
def test_a_codec_keeps_loudness_and_place_but_not_the_samples(codec, rate):
    changed = apply_codec(SPEECH, codec, rate)
    assert level(changed) == pytest.approx(level(SPEECH), abs=2)
    assert abs(delay(changed, SPEECH)) <= 3
    lost = level(changed - SPEECH) - level(SPEECH)
    assert -40 < lost < 0  # a voice still, but not the same


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_lost_at_the_end(codec):
    buzz = SPEECH[: np.argmax(np.abs(SPEECH))]  # ends in the midst of a vowel
    assert level(apply_codec(buzz, codec)[-400:]) == pytest.approx(level(buzz[-400:]), abs=4)


@pytest.mark.parametrize("codec", ["amr", "opus", "mp3"])
def test_fewer_bits_lose_more(codec):
    lost = [level(apply_codec(SPEECH, codec, rate) - SPEECH) for rate in sorted(CODECS[codec].bit_rates)]
    assert lost[0] > lost[-1]


@pytest.mark.parametrize(("codec", "highest"), [("mu-law", 4000), ("amr", 4000)])
def test_telephone_codecs_have_the_band_of_a_telephone(codec, highest):
    hiss = add_noise(tone(2.0), 10, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(apply_codec(hiss, codec))) ** 2
    assert power[2 * highest + 500 :].sum() < 1e-4 * power.sum()  # two bins a hertz
