"""`ser_hf.utils.recordings`: what `read_audio` reads is known without its suffix; other files are left out."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest

from ser_hf.audio import read_audio
from ser_hf.utils.recordings import START_BYTES, begins_like_recording, is_hidden, may_be_recording
from tests.hostile_audio import film, voice
from tests.synthetic import as_file, encode

CODECS = {  # of FFmpeg's containers
    **dict.fromkeys(("ipod", "mp4", "mov", "3gp", "matroska", "mpegts", "adts", "flv"), "aac"),
    **dict.fromkeys(("asf", "avi", "w64", "caf"), "pcm_s16le"),
    **{"webm": "libopus", "ogg": "libopus", "mp2": "mp2", "mp3": "libmp3lame", "ac3": "ac3"},
    **{"vob": "mp2", "wv": "wavpack", "tta": "tta"},
}
OF_SOUNDFILE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "SVX", "NIST", "VOC")
FOREIGN = {
    "text": b"RIFF and OggS, ID3 and caff, FORM and MAC addresses",
    "UTF-16": "\ufeffThe free text".encode("utf-16-le"),
    "WebP": b"RIFF\x24\0\0\0WEBPVP8 ",
    "HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "zip": b"PK\x03\x04",
    "TextGrid": b'File type = "ooTextFile"\n',
    "zeros": bytes(START_BYTES),
    "ones": b"\xff" * START_BYTES,
    "nothing": b"",
}


@pytest.mark.parametrize("container", [*CODECS, *OF_SOUNDFILE, "film"])
def test_recordings_are_known_by_how_they_begin(container):
    if container in CODECS:
        content = encode(voice(48_000), container, CODECS[container], 48_000)
    else:
        content = film()() if container == "film" else as_file(voice(), container)
    assert read_audio(content).duration > 2
    assert begins_like_recording(content[:START_BYTES])


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_no_recordings(kind):
    assert not begins_like_recording(FOREIGN[kind])


def test_may_be_recording_opens_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged.WAV").touch()
    (tmp_path / "voice").write_bytes(as_file(voice()))
    assert [name for name in sorted(os.listdir(tmp_path)) if may_be_recording(tmp_path / name)] == [
        "damaged.WAV",
        "voice",
    ]


def test_is_hidden_knows_what_systems_leave():
    paths = {"a.wav": False, "../a.wav": False, ".a.wav": True, ".git/a": True, "__MACOSX/a.wav": True, "in/._a": True}
    assert {path: is_hidden(PurePosixPath(path)) for path in paths} == paths
