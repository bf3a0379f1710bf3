"""Hostile and odd recordings: broken headers, other content named .wav, and paths that are no plain files."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ser_hf.audio import SAMPLE_RATE, AudioError, EmptyAudioError, SilenceError, TooLongError, UnreadableAudioError
from tests.synthetic import as_file, claim_samples, encode, make_clip

MAX_SECONDS = 3600
Make = Callable[[Path], str]


@dataclass(frozen=True)
class Case:
    """One hostile or odd recording.

    Attributes:
        name: what it is.
        make: creates it in an empty folder and returns the path to pass on.
        error: how it is refused by `EmotionClassifier`; None if it gets a prediction.
        warning: a pattern that one of the prediction's warnings must match.
        page_refuses: whether only the page refuses it, by its limits on size and length.
    """

    name: str
    make: Make
    error: type[AudioError] | None = None
    warning: str = ""
    page_refuses: bool = False


def file(name: str | bytes, content: bytes | Callable[[], bytes]) -> Make:
    """A file of this name; a function makes its content only when the case is run."""

    def make(folder: Path) -> str:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        with open(path, "wb") as stream:
            stream.write(content() if callable(content) else content)
        return os.fsdecode(path)

    return make


def relative(path: str, content: Callable[[], bytes]) -> Make:
    """A file at a path relative to the working folder, which is the case's own."""

    def make(folder: Path) -> str:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content())
        return path

    return make


def link(target: str) -> Make:
    """A symbolic link named link.wav."""

    def make(folder: Path) -> str:
        (folder / "link.wav").symlink_to(target)
        return str(folder / "link.wav")

    return make


def unix_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(folder):
        one.bind("socket.wav")  # by its short name: a socket's path has at most 107 bytes
    return str(folder / "socket.wav")


@functools.cache
def voice(rate: int = SAMPLE_RATE) -> np.ndarray:
    """Three seconds of speech without silence at the ends, float32, peak about 0.3."""
    return make_clip("happy", actor=3, seconds=5, sample_rate=rate)[rate : 4 * rate]


def wav() -> bytes:
    return as_file(voice(), "WAV")


def m4a() -> bytes:
    return encode(voice(), "ipod", "aac")


def flac_claiming(n_samples: int) -> Callable[[], bytes]:
    """A flac of 3 s whose header says that it holds `n_samples`; 0 means unknown."""
    return lambda: claim_samples(as_file(voice(), "FLAC"), n_samples)


def patched_wav(offset: int, value: bytes) -> Callable[[], bytes]:
    """A wav with other bytes at this offset of its header."""
    return lambda: wav()[:offset] + value + wav()[offset + len(value) :]


def au(channels: int, rate: int = SAMPLE_RATE) -> bytes:
    """Sun's au, whose header has 32-bit fields, with a second of 16-bit noise."""
    header = struct.pack(">4sIIIII", b".snd", 24, 0xFFFFFFFF, 3, rate, channels)
    return header + np.random.default_rng(0).bytes(2 * SAMPLE_RATE)


def caf(channels: int, rate: float = SAMPLE_RATE) -> bytes:
    """Apple's caf, whose sample rate is a float, with a second of 16-bit noise."""
    sound = np.random.default_rng(0).bytes(2 * SAMPLE_RATE)
    description = struct.pack(">d4sIIIII", rate, b"lpcm", 0, 2, 1, channels, 16)
    head = b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(description)) + description
    return head + b"data" + struct.pack(">qI", len(sound) + 4, 0) + sound


def film(side: int = 64, sound: bool = True) -> Callable[[], bytes]:
    """An mp4 with one black picture of `side` x `side` pixels and, if wanted, the voice."""

    def make() -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as container:
            track = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
            pictures = container.add_stream("png", rate=1)
            pictures.width = pictures.height = side
            pictures.pix_fmt = "rgb24"
            container.start_encoding()
            picture = av.Packet(_png(side))  # not encoded by FFmpeg, which would need gigabytes for a large one
            picture.stream, picture.time_base, picture.pts, picture.dts = pictures, Fraction(1), 0, 0
            container.mux(picture)
            if track is not None:
                _mux_voice(container, track, voice(48_000), 48_000)
        return buffer.getvalue()

    return make


def tracks(number: int) -> bytes:
    """An mp4 with this many sound tracks, the voice in the first."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") for _ in range(number)]
        for stream in streams:
            _mux_voice(container, stream, voice() if stream is streams[0] else voice()[:1024], SAMPLE_RATE)
    return buffer.getvalue()


def _mux_voice(container: av.container.OutputContainer, stream: av.AudioStream, sound: np.ndarray, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    for one in (frame, None):
        container.mux(stream.encode(one))


def _png(side: int) -> bytes:
    """A black picture, compressed row by row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj()
    rows = b"".join([packer.compress(bytes(1 + 3 * side)) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Usage:
    """Peak memory of a `with` block in MB above its start, in `megabytes`; Linux only."""

    def __enter__(self) -> Usage:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to what is resident now
        self._start = self._megabytes("VmRSS")
        return self

    def __exit__(self, *exception: object) -> None:
        self.megabytes = max(0.0, self._megabytes("VmHWM") - self._start)

    @staticmethod
    def _megabytes(field: str) -> float:
        status = Path("/proc/self/status").read_text()
        return int(re.search(rf"^{field}:\s*(\d+) kB$", status, re.MULTILINE)[1]) / 1000


NOISE = np.random.default_rng(0).bytes(50_000)
NO_RECORDINGS = {
    **{f"noise after {start!r}": start + NOISE for start in (b"RIFF\xff\xff\xff\xffWAVE", b"fLaC", b"OggS\0\x02")},
    **{f"noise after {start!r}": start + NOISE for start in (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", b"caff\0\x01\0\0")},
    "noise": NOISE,
    "web page": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "pickle": b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "program": b"\x7fELF\x02\x01\x01" + bytes(1000),
    "zeros": bytes(50_000),
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "FFmpeg playlist": b"ffconcat version 1.0\nfile http://127.0.0.1:9/voice.wav\n",
    "session description": b"v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
}
BROKEN_HEADERS = {
    "wav of 0 channels": patched_wav(22, bytes(2)),
    "wav of 65535 channels": patched_wav(22, b"\xff\xff"),
    "wav at 0 Hz": patched_wav(24, bytes(4)),
    "wav at 4294967295 Hz": patched_wav(24, b"\xff" * 4),
    "wav of 0 bits": patched_wav(34, bytes(2)),
    "wav of an unknown codec": patched_wav(20, b"\x99\x99"),
    **{f"au of {channels} channels": au(channels) for channels in (0, 2**31, 2**32 - 1)},
    **{f"caf of {channels} channels": caf(channels) for channels in (0, 2**31, 2**32 - 1)},
    "au at 2147483648 Hz": au(1, 2**31),
    "caf at an infinite rate": caf(1, np.inf),
    "caf at a rate of NaN": caf(1, np.nan),
    "film without sound": film(sound=False),
}
NAMES = [
    *("стимул 😀 ünï.wav", "two\nlines.wav", "bell\a.wav", "'\"`$(id);&|.wav", "100%d%s%n.wav", "no suffix"),
    *("<img src=x onerror=alert(1)>.wav", "clip.mp3", "*.wav", "[a]?.wav", "\u202egnp.wav", "x" * 251 + ".wav"),
]
PATHS = ("/dev/zero", "/dev/null", "http://127.0.0.1:9/voice.wav", "file:///etc/passwd", "a\0b.wav", "x" * 5000)
CASES = [
    *(Case(name, file("clip.wav", content), UnreadableAudioError) for name, content in NO_RECORDINGS.items()),
    *(Case(name, file("clip.wav", content), UnreadableAudioError) for name, content in BROKEN_HEADERS.items()),
    Case("no bytes", file("clip.wav", b""), EmptyAudioError),
    Case("wav at 1 Hz", file("clip.wav", patched_wav(24, b"\1\0\0\0")), TooLongError),
    Case("flac that claims ten hours", file("clip.flac", flac_claiming(10 * 3600 * SAMPLE_RATE)), TooLongError),
    Case("flac of unknown length", file("clip.flac", flac_claiming(0))),
    Case("wav that claims 2 GB", file("clip.wav", patched_wav(40, b"\0\0\0\x7f")), warning="cut off"),
    Case("wav of unknown length", file("clip.wav", patched_wav(40, b"\xff\xff\xff\xff"))),
    Case("DC", file("clip.wav", lambda: as_file(np.full(SAMPLE_RATE, 0.5))), SilenceError),
    *(Case(f"name {name[:40]!r}", file(name, wav)) for name in NAMES),
    Case("wav whose name is not UTF-8", file(b"caf\xe9.wav", wav)),
    Case("m4a whose name is not UTF-8", file(b"caf\xe9.m4a", m4a)),
    Case("m4a whose name breaks a line", file("two\nlines.m4a", m4a)),
    *(Case(f"m4a at {path}", relative(path, m4a)) for path in ("concat:voice.m4a", "-voice.m4a", "http:/voice.m4a")),
    *(Case(f"path {path[:40]!r}", lambda folder, path=path: path, UnreadableAudioError) for path in PATHS),
    Case("path of a text file", lambda folder: "/etc/passwd", UnreadableAudioError),
    Case("path of a kernel file", lambda folder: "/proc/self/environ", EmptyAudioError),
    Case("link to itself", link("link.wav"), UnreadableAudioError),
    Case("link to a device", link("/dev/zero"), UnreadableAudioError),
    Case("socket", unix_socket, UnreadableAudioError),
]
