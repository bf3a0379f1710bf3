"""How hostile and odd recordings are made: the bytes of a file, or something that lies at a path."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import socket
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from ser_hf.audio import SAMPLE_RATE
from tests.synthetic import as_file, claim_samples, encode, make_clip

# What lies in a folder: makes it there and returns the path to give to the program.
Make = Callable[[Path], str]
GROWING_SECONDS = 30


@functools.cache
def voice(rate: int = SAMPLE_RATE) -> np.ndarray:
    """Three seconds without silence before and after, float32, peak about 0.3."""
    return make_clip("happy", actor=3, seconds=5, sample_rate=rate)[rate : 4 * rate]


def named(name: str | bytes, content: bytes | Callable[[], bytes]) -> Make:
    """A file of this name; what is slow to make is made when it is asked for."""

    def make(folder: Path) -> str:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content() if callable(content) else content)
        return os.fsdecode(path)

    return make


def stored(container: str, subtype: str | None = None, rate: int = SAMPLE_RATE, channels: int = 1) -> Callable:
    """The voice as libsndfile writes it, the channels at falling levels."""
    gains = np.linspace(1, 0.5, channels)
    return lambda: as_file(voice(rate)[:, None] * gains, container, subtype, rate)


def coded(container: str, codec: str, rate: int = SAMPLE_RATE, channels: int = 1, **options: str) -> Callable:
    """The voice as FFmpeg writes it; ``options`` are those of the container."""
    bit_rate = 32_000 if codec.startswith("wma") else None  # of one voice; FFmpeg's own choice is too much for it

    def make() -> bytes:
        return encode(np.repeat(voice(rate)[:, None], channels, axis=1), container, codec, rate, options, bit_rate)

    return make


def samples(values: Callable[[], np.ndarray], subtype: str = "FLOAT", container: str = "WAV") -> Callable:
    """Any samples at 16 kHz."""
    return lambda: as_file(values(), container, subtype)


def part(content: Callable[[], bytes], share: float) -> Callable:
    """The beginning of a file."""

    def cut() -> bytes:
        whole = content()
        return whole[: round(share * len(whole))]

    return cut


def start(content: Callable[[], bytes], length: int) -> Callable:
    """The first bytes of a file."""
    return lambda: content()[:length]


def patched(content: Callable[[], bytes], place: int, value: bytes) -> Callable:
    """A file in which some bytes are others."""

    def patch() -> bytes:
        whole = bytearray(content())
        whole[place : place + len(value)] = value
        return bytes(whole)

    return patch


def claiming(n_samples: int, container: str = "FLAC") -> Callable:
    """A flac whose header says another number of samples; 0 stands for not known."""
    return lambda: claim_samples(stored(container)(), n_samples)


def long_flac(seconds: int, rate: int, channels: int = 1, known: bool = True) -> Callable:
    """Silence for a long time in a small file.

    Args:
        known: whether the header says how long it is.
    """

    def make() -> bytes:
        buffer = io.BytesIO()
        second = np.zeros((rate, channels), np.int16)
        with soundfile.SoundFile(buffer, "w", rate, channels, "PCM_S8", format="FLAC") as file:
            for _ in range(seconds):
                file.write(second)
        return buffer.getvalue() if known else claim_samples(buffer.getvalue(), 0)

    return make


def au(channels: int, rate: int = SAMPLE_RATE, encoding: int = 3) -> bytes:
    """A header of Sun's au, whose fields have 32 bits each, before a second of 16-bit noise."""
    header = struct.pack(">4sIIIII", b".snd", 24, 0xFFFFFFFF, encoding, rate, channels)
    return header + np.random.default_rng(0).bytes(2 * SAMPLE_RATE)


def caf(channels: int, rate: float = SAMPLE_RATE) -> bytes:
    """A header of Apple's caf before a second of 16-bit noise."""
    sound = np.random.default_rng(0).bytes(2 * SAMPLE_RATE)
    description = struct.pack(">d4sIIIII", rate, b"lpcm", 0, 2, 1, channels, 16)
    head = b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(description)) + description
    return head + b"data" + struct.pack(">qI", len(sound) + 4, 0) + sound


def film(side: int = 64, sound: bool = True) -> Callable:
    """An mp4 with one black picture of this many pixels a side and, if wanted, the voice."""

    def make() -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as file:
            track = file.add_stream("aac", rate=48_000, layout="mono") if sound else None
            pictures = file.add_stream("png", rate=1)
            pictures.width = pictures.height = side
            pictures.pix_fmt = "rgb24"
            file.start_encoding()
            picture = av.Packet(png(side))  # packed here: FFmpeg would need the memory that it is to be kept from
            picture.stream, picture.time_base, picture.pts, picture.dts = pictures, Fraction(1), 0, 0
            file.mux(picture)
            if track is not None:
                frame = av.AudioFrame.from_ndarray(voice(48_000)[None], format="fltp", layout="mono")
                frame.sample_rate = 48_000
                for one in (frame, None):
                    file.mux(track.encode(one))
        return buffer.getvalue()

    return make


def late_picture() -> bytes:
    """A flv of sound alone, by its first 5 MB, in which a picture comes after the voice."""
    sound = np.repeat(np.tile(voice(44_100), 11)[:, None], 2, axis=1)
    picture = b"\x22" + bytes(60)
    tag = b"\x09" + len(picture).to_bytes(3, "big") + bytes(7) + picture
    return encode(sound, "flv", "pcm_s16le", 44_100) + tag + len(tag).to_bytes(4, "big")


def png(side: int) -> bytes:
    """A black picture; the rows are packed one by one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj()
    rows = b"".join([packer.compress(bytes(1 + 3 * side)) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tracks(number: int) -> bytes:
    """An mp4 with this many sound tracks, the voice in the first."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        streams = [file.add_stream("aac", rate=SAMPLE_RATE, layout="mono") for _ in range(number)]
        for stream in streams:
            sound = voice() if stream is streams[0] else voice()[:1024]
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            for one in (frame, None):
                file.mux(stream.encode(one))
    return buffer.getvalue()


def packed(*contents: bytes) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.wav", content)
    return buffer.getvalue()


def link(target: str) -> Make:
    """A symbolic link."""

    def make(folder: Path) -> str:
        path = folder / "link.wav"
        path.symlink_to(target)
        return str(path)

    return make


def link_to_voice(folder: Path) -> str:
    soundfile.write(folder / "target.wav", voice(), SAMPLE_RATE)
    return link("target.wav")(folder)


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.wav")
    return str(folder / "pipe.wav")


def door(folder: Path) -> str:
    """A socket of the file system."""
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(folder):
        one.bind("door.wav")  # by its short name: a socket's path has no more than 107 bytes
    return str(folder / "door.wav")


def empty_folder(folder: Path) -> str:
    (folder / "recordings.wav").mkdir()
    return str(folder / "recordings.wav")


def forbidden(folder: Path) -> str:
    path = named("secret.wav", stored("WAV"))(folder)
    os.chmod(path, 0)
    return path


def growing(folder: Path) -> str:
    """A wav of unknown length to which a recorder goes on to write, as fast as it can, up to `GROWING_SECONDS`."""
    path = named("growing.wav", patched(stored("WAV"), 40, b"\xff\xff\xff\xff"))(folder)
    more = stored("WAV")()[44:]

    def record() -> None:
        with open(path, "ab", buffering=0) as file:
            for _ in range(GROWING_SECONDS // 3 - 1):
                file.write(more)

    threading.Thread(target=record, daemon=True).start()
    return path


def given(path: str) -> Make:
    """A path at which the test makes nothing."""
    return lambda folder: path


def inside(path: str, content: Callable[[], bytes]) -> Make:
    """A file at a relative path, which is given as it is: the program runs in the folder."""

    def make(folder: Path) -> str:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content())
        return path

    return make
