"""What the parsers make of any name: a clip, or a `CorpusError` that says which name it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import NAMES, PARSERS, any_name_is_a_clip_or_refused

# Digits and letters that Python takes for those of ASCII when a pattern, `int` or `lower` meets them.
LIKE_ASCII = "\u0660\u0661\u06f2\uff13\u017f\u212a\u0130\u0131\xdf\uff41\xb2"


@given(st.text())
def test_any_text(name):
    any_name_is_a_clip_or_refused(name)


@pytest.mark.parametrize("corpus", PARSERS)
@settings(max_examples=500)
@given(data=st.data())
def test_official_names_with_other_characters(corpus, data):
    name = list(NAMES[corpus])
    for _ in range(data.draw(st.integers(1, 3))):
        name[data.draw(st.integers(0, len(name) - 1))] = data.draw(st.sampled_from([*LIKE_ASCII, *"019-_/.aZ\0\n", ""]))
    any_name_is_a_clip_or_refused("".join(name))


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("savee", "DC/a\u0660\u0661.wav"),
        ("tess", "OAF_back_\u017fad.wav"),
        ("tess", "OAF_bac\u212a_sad.wav"),
        ("tess", "a/OAF_\u017f_sad.wav"),
    ],
)
def test_letters_and_digits_are_those_of_ascii(corpus, name):
    """The first was once a clip, the second a KeyError."""
    with pytest.raises(ValueError, match="not an official"):
        PARSERS[corpus](name)


@pytest.mark.parametrize("corpus", PARSERS)
def test_official_names_are_clips(corpus):
    assert PARSERS[corpus](NAMES[corpus])
