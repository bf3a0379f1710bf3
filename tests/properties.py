"""What holds for any bytes that are read and any file name that is parsed."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ser_hf.audio import SAMPLE_RATE, AudioError, read_audio
from ser_hf.corpora import CORPORA, CorpusError, corpus_facts
from tests.corpora.trees import OFFICIAL
from tests.synthetic import as_file, encode, make_clip

MAX_SECONDS = 30
PARSERS = {name: corpus_facts(name).parse for name in CORPORA}
NAMES = {name: list(paths)[-1] for name, paths in OFFICIAL.items()}  # an official file name of each corpus


def any_bytes_are_sound_or_refused(content: bytes) -> None:
    """Mono float32 at 16 kHz within [-1, 1] and the requested length; or an error that names the recording."""
    try:
        outcome = read_audio(content, max_seconds=MAX_SECONDS)
    except AudioError as error:
        outcome = error
    if isinstance(outcome, AudioError):
        assert str(outcome).startswith("recording: ")
        return
    samples = outcome.samples
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert 1 <= len(samples) <= MAX_SECONDS * SAMPLE_RATE + 1
    assert np.abs(samples).max() <= 1  # false for NaN


def any_name_is_a_clip_or_refused(name: str) -> None:
    """An ASCII clip name that is parsed as the same clip again; or a `CorpusError` that names the file."""
    for corpus, parse in PARSERS.items():
        try:
            clip = parse(name)
        except CorpusError as error:
            clip = error
        if isinstance(clip, CorpusError):
            assert str(clip).startswith((name, str(Path(name))))
            continue
        assert f"{clip.clip} {clip.speaker}".isascii(), (corpus, clip)
        assert parse(corpus_facts(corpus).official_name(clip)) == clip, (corpus, clip)


@functools.cache
def whole_files() -> dict[str, bytes]:
    """0.6 s of sound in containers of every kind."""
    sound = make_clip("sad", seconds=0.6)
    files = {name.lower(): as_file(sound, name) for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU", "W64")}
    files |= {f"wav-{name.lower()}": as_file(sound, "WAV", name) for name in ("FLOAT", "ULAW", "MS_ADPCM", "GSM610")}
    coded = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus"), "aac": ("adts", "aac"), "wv": ("wv", "wavpack")}
    coded |= {"avi": ("avi", "adpcm_ms"), "flv": ("flv", "libmp3lame"), "tta": ("tta", "tta"), "ts": ("mpegts", "aac")}
    coded |= {"amr": ("amr", "libopencore_amrnb"), "wma": ("asf", "wmav2")}
    for name, (container, codec) in coded.items():
        rate = {"flv": 22_050, "amr": 8_000}.get(name, SAMPLE_RATE)
        clip = make_clip("sad", seconds=0.6, sample_rate=rate)
        files[name] = encode(clip, container, codec, rate, bit_rate=32_000 if name == "wma" else None)
    return files
