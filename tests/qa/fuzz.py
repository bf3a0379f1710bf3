"""Fuzz the decoder and the parsers of file names with many random inputs; `make test` tries a few."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.properties import NAMES, any_bytes_are_sound_or_refused, any_name_is_a_clip_or_refused, whole_files

FUZZ = settings(max_examples=20_000, derandomize=False, deadline=None, suppress_health_check=list(HealthCheck))
# Where, how many bytes of the file go, and what comes in their place.
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 64), st.binary(max_size=64)), min_size=1, max_size=8)


@FUZZ
@given(kind=st.sampled_from(sorted(whole_files())), edits=EDITS, cut=st.floats(0, 1) | st.just(1.0))
def test_edited_files_are_read_or_refused(kind: str, edits: list[tuple[float, int, bytes]], cut: float):
    content = whole_files()[kind]
    for place, length, replacement in edits:
        start = round(place**3 * len(content))  # mostly in the headers
        content = content[:start] + replacement + content[start + length :]
    any_bytes_are_sound_or_refused(content[: max(1, round(cut * len(content)))])


@FUZZ
@given(st.binary(min_size=1, max_size=4000))
def test_random_bytes_are_read_or_refused(content: bytes):
    any_bytes_are_sound_or_refused(content)


@FUZZ
@given(name=st.text() | st.from_regex(r"[\w/.-]{1,40}\.(wav|mp3)", fullmatch=True))
@example(name="DC/a\u0660\u0661.wav")
def test_random_names_are_parsed_or_refused(name: str):
    any_name_is_a_clip_or_refused(name)


@FUZZ
@given(
    corpus=st.sampled_from(sorted(NAMES)),
    edits=st.lists(st.tuples(st.integers(0, 60), st.text(max_size=2)), min_size=1, max_size=4),
)
def test_edited_names_are_parsed_or_refused(corpus: str, edits: list[tuple[int, str]]):
    name = list(NAMES[corpus])
    for place, replacement in edits:
        name[place % len(name)] = replacement
    any_name_is_a_clip_or_refused("".join(name))
