"""Files that are several recordings joined byte by byte (``cat a.ogg b.ogg``): decoders stop after the first."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Content = bytes | mmap.mmap

RIFF: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big"}
# A wav whose header says that the sound ends before the file does: so many bytes that are no chunk are lost sound.
LOST_BYTES = 1024
FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
EBML = re.compile(rb"\x1a\x45\xdf\xa3.{,64}?(?:webm|matroska)", re.DOTALL)
OGG_START = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")  # a page that begins a stream
OGG_HEADER = 27  # bytes, before the lengths of a page's segments
ID3 = re.compile(rb"ID3[\x02-\x04]\x00[\x00\x10-\xf0]")  # an MP3 begins with such a tag, or with its first frame
MP3_FRAMES = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2")  # layer III of MPEG 1 and 2
MP3_COUNT = re.compile(rb"Xing|Info")  # says how many frames follow


@contextmanager
def content_of(source: Path | bytes) -> Iterator[Content]:
    """The bytes of a file, which are not read before they are looked at, or those given."""
    if isinstance(source, bytes):
        yield source
    else:
        with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def starts_of(content: Content) -> list[int]:
    """Where each of the joined files begins; [0] for an ordinary file."""
    head = content[:12]
    if head[:4] in RIFF:
        return _walk_riff(content)[0]
    if head[:4] == b"OggS":
        return _ogg_starts(content)
    if head[4:8] == b"ftyp":
        return [at for at, kind in _boxes(content) if kind == b"ftyp"]
    if head[:4] == b"FORM":  # AIFF
        return _form_starts(content)
    pattern = {b"fLaC": FLAC, b"\x1a\x45\xdf\xa3": EBML}.get(head[:4], ID3)
    return [0, *(found.start() for found in pattern.finditer(content) if found.start())]


def loses_sound(content: Content) -> bool:
    """Whether a wav goes on after the end that its header gives."""
    return content[:4] in RIFF and _walk_riff(content)[1]


def counts_frames_twice(content: Content) -> bool:
    """Whether an MP3 holds two counts of its frames, so that the first is not that of all."""
    is_mp3 = content[:3] == b"ID3" or content[:2] in MP3_FRAMES
    return is_mp3 and len(MP3_COUNT.findall(content)) > 1


def _walk_riff(content: Content) -> tuple[list[int], bool]:
    """Where RIFF files begin, and whether sound follows after the last chunk of samples."""
    starts: list[int] = []
    at, size, name, order = 0, 0, b"", RIFF[b"RIFF"]
    while at + 8 <= len(content):
        has_samples = name == b"data" and size > 0  # 0: a stream, whose length was not known
        name = content[at : at + 4]
        if name in RIFF and content[at + 8 : at + 12] == b"WAVE":  # large AVI files are several RIFF chunks
            starts.append(at)
            order = RIFF[name]
            at += 12
            continue
        size = int.from_bytes(content[at + 4 : at + 8], order)
        if not re.fullmatch(rb"[\w \-]{4}", name) or at + 8 + size > len(content) + 1:
            return starts or [0], has_samples and len(content) - at > LOST_BYTES and any(content[at:])
        at += 8 + size + size % 2
    return starts or [0], False


def _form_starts(content: Content) -> list[int]:
    starts = [0]
    while True:
        at = starts[-1]
        size = int.from_bytes(content[at + 4 : at + 8], "big")
        at += 8 + size + size % 2
        if content[at : at + 4] != b"FORM":
            return starts
        starts.append(at)


def _ogg_starts(content: Content) -> list[int]:
    """The first pages of streams; those of streams side by side follow each other, and count as one."""
    starts: list[int] = []
    end_of_first_pages = -1
    for found in OGG_START.finditer(content):
        at = found.start()
        if at != end_of_first_pages:
            starts.append(at)
        sizes = content[at + OGG_HEADER : at + OGG_HEADER + content[at + OGG_HEADER - 1]]
        end_of_first_pages = at + OGG_HEADER + len(sizes) + sum(sizes)
    return starts


def _boxes(content: Content) -> Iterator[tuple[int, bytes]]:
    """The outermost boxes of an MP4 file: where each begins, and its kind."""
    at = 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if size == 1:  # its size follows, in 64 bits
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        yield at, kind
        if size < 8:  # 0: it reaches to the end
            return
        at += size
