"""All of a file is read: several joined in one, headers with wrong lengths, voices in the second track."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import av
import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError, read_audio
from ser_hf.audio.joined import starts_of
from tests.synthetic import as_file, encode, make_clip

FIRST, SECOND = (make_clip(*one, seconds=1.4)[3200:19200] for one in (("happy", 3), ("sad", 2)))
RATE = 48_000
Make = Callable[[np.ndarray], bytes]


def in_libsndfile(container: str, subtype: str | None = None, rate: int = SAMPLE_RATE) -> Make:
    return lambda samples: as_file(np.repeat(samples, rate // SAMPLE_RATE), container, subtype, rate)


def in_ffmpeg(container: str, codec: str, options: dict[str, str] | None = None) -> Make:
    return lambda samples: encode(np.repeat(samples, 3), container, codec, RATE, options)


FORMATS: dict[str, Make] = {
    "wav": in_libsndfile("WAV"),
    "wav, 24 bits": in_libsndfile("WAV", "PCM_24"),
    "wav, floats": in_libsndfile("WAV", "FLOAT"),
    "wav, extensible": in_libsndfile("WAVEX"),
    "rifx": lambda samples: as_big_endian(as_file(samples)),
    "aiff": in_libsndfile("AIFF"),
    "flac": in_libsndfile("FLAC"),
    "ogg vorbis": in_libsndfile("OGG", "VORBIS", RATE),
    "ogg opus": in_libsndfile("OGG", "OPUS", RATE),
    "mp3": in_libsndfile("MP3", None, RATE),
    "mp3 of ffmpeg": in_ffmpeg("mp3", "libmp3lame"),
    "aac": in_ffmpeg("adts", "aac"),
    "m4a": in_ffmpeg("ipod", "aac"),
    "mov": in_ffmpeg("mov", "pcm_s16le"),
    "webm": in_ffmpeg("webm", "libopus"),
    "webm of a browser": in_ffmpeg("webm", "libopus", {"live": "1"}),
    "matroska": in_ffmpeg("matroska", "aac"),
}


def as_big_endian(wav: bytes) -> bytes:
    """A 16-bit wav as RIFX."""
    fields = struct.unpack("<4sI4s4sIHHIIHH4sI", wav[:44])
    samples = np.frombuffer(wav[44:], "<i2").astype(">i2").tobytes()
    return struct.pack(">4sI4s4sIHHIIHH4sI", b"RIFX", *fields[1:]) + samples


def loudness(samples: np.ndarray, n: int = 20) -> np.ndarray:
    """The level of so many equal parts of a recording: codecs change samples, and not this."""
    return np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(samples, n)])


def assert_holds(content: bytes, *voices: np.ndarray) -> tuple[str, ...]:
    """A file is as long as the voices in it, and as loud in each part; returns its warnings."""
    recording = read_audio(content)
    expected = read_audio(np.concatenate(voices)).samples
    assert recording.duration == pytest.approx(len(expected) / SAMPLE_RATE, abs=0.15)
    assert np.corrcoef(loudness(recording.samples), loudness(expected))[0, 1] > 0.9
    return recording.warnings


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_joined_files_are_read_to_the_end(make):
    one, two = make(FIRST), make(SECOND)
    assert not any("join" in warning for warning in assert_holds(one, FIRST))
    assert_holds(one + two, FIRST, SECOND)
    assert_holds(one + two + one, FIRST, SECOND, FIRST)


def test_riff_chunks_of_other_kinds_are_one_file():
    avi = in_ffmpeg("avi", "pcm_s16le")(FIRST)
    assert starts_of(avi) == [0]
    assert starts_of(avi + b"RIFF" + struct.pack("<I", 4) + b"AVIX") == [0]
    assert_holds(avi, FIRST)


def test_joined_files_may_differ_in_rate_and_channels():
    stereo = as_file(np.stack([SECOND, SECOND], 1).repeat(3, axis=0), sample_rate=RATE)
    assert_holds(as_file(FIRST) + stereo, FIRST, SECOND)
    assert_holds(stereo + as_file(FIRST), SECOND, FIRST)
    assert_holds(stereo + as_file(np.zeros(0)) + as_file(FIRST), SECOND, FIRST)


def test_part_that_cannot_be_decoded_is_named():
    broken = as_file(SECOND, "FLAC")
    warnings = assert_holds(as_file(FIRST, "FLAC") + broken[:42] + bytes(2000) + as_file(SECOND, "FLAC"), FIRST, SECOND)
    assert any("part 2" in warning for warning in warnings)


WAV = as_file(FIRST)
INFO = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf61.7.100\0\0"
PICTURE = b"id3 " + struct.pack("<I", 5000) + np.random.default_rng(0).bytes(5000)


def claims(data: int, riff: int | None = None) -> bytes:
    """A wav whose header gives these sizes."""
    return (
        WAV[:4]
        + struct.pack("<I", data + 36 if riff is None else riff)
        + WAV[8:40]
        + struct.pack("<I", data)
        + WAV[44:]
    )


SOUND_BYTES = len(WAV) - 44
WRONG_LENGTHS = {
    "half of it": claims(SOUND_BYTES // 2),
    "samples for bytes": claims(SOUND_BYTES // 2, len(WAV) - 8),
    "a tenth of a second": claims(3200),
    "one sample": claims(2),
    "an odd number": claims(3201),
    "nothing": claims(0),
    "nothing at all": claims(0, 0),
    "as much as there can be": claims(2**32 - 1, 2**32 - 1),
}
RIGHT_LENGTHS = {
    "its own": WAV,
    "its own, though not the file's": claims(SOUND_BYTES, 0),
    "its own, then a note": WAV + INFO,
    "its own, then a picture": WAV + PICTURE,
    "its own, then a note and a picture": WAV + INFO + PICTURE,
    "its own, then zeros": WAV + bytes(5000),
    "its own, then some bytes": WAV + b"\x01\x02\x03" * 100,
    "its own, after a note": WAV[:36] + INFO + WAV[36:],
}


@pytest.mark.parametrize("content", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_wav_with_a_wrong_length_is_read_whole(content):
    warnings = assert_holds(content, FIRST)
    assert any("length" in warning for warning in warnings) or struct.unpack("<I", content[40:44])[0] in (0, 2**32 - 1)


@pytest.mark.parametrize("content", RIGHT_LENGTHS.values(), ids=RIGHT_LENGTHS)
def test_wav_with_other_chunks_is_read_without_warning(content):
    assert read_audio(content).samples == pytest.approx(read_audio(WAV).samples, abs=1e-6)
    assert read_audio(content).warnings == ()


def film(container: str, *voices: np.ndarray, seconds: float = 0) -> bytes:
    """A container with a sound track for each voice and, if wanted, so many seconds of pictures."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        tracks = [file.add_stream("aac", rate=SAMPLE_RATE, layout="mono") for _ in voices]
        if seconds:
            pictures = file.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
            for _ in range(int(10 * seconds)):
                file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            file.mux(pictures.encode(None))
        for track, voice in zip(tracks, voices, strict=True):
            frame = av.AudioFrame.from_ndarray(voice[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            for one in (frame, None):
                file.mux(track.encode(one))
    return buffer.getvalue()


SILENCE = np.zeros_like(FIRST)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize(
    ("tracks", "used"),
    [((SILENCE, FIRST), 2), ((SILENCE, SILENCE, FIRST), 3), ((FIRST, SECOND), 1), ((FIRST, SILENCE), 1)],
    ids=["silent first", "two silent first", "two voices", "silent second"],
)
def test_first_track_with_sound_is_used_and_named(container, tracks, used):
    (warning,) = assert_holds(film(container, *tracks), FIRST)
    assert f"track {used}" in warning


def test_track_of_an_unknown_codec_is_passed_over():
    content = film("matroska", SECOND, FIRST)
    assert content.count(b"A_AAC") == 2
    (warning,) = assert_holds(content.replace(b"A_AAC", b"A_XYZ", 1), FIRST)
    assert "track 2" in warning
    with pytest.raises(UnreadableAudioError):
        read_audio(content.replace(b"A_AAC", b"A_XYZ"))


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_film_that_outlasts_its_sound_is_not_cut_off(container):
    assert assert_holds(film(container, FIRST, seconds=3), FIRST) == ()
