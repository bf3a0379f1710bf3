"""The fuzzer's own process, which ends with it: `python -m tests.fuzz.run decoder|names` and options of libFuzzer."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ser_hf.audio", "ser_hf.corpora"]):
    from tests.fuzz import promises


def try_decoder(data: bytes) -> None:
    promises.any_bytes_are_sound_or_refused(data)


def try_names(data: bytes) -> None:
    promises.any_name_is_a_clip_or_refused(data.decode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    target, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], {"decoder": try_decoder, "names": try_names}[target])
    atheris.Fuzz()
