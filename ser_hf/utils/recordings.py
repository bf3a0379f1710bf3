"""Which files may be recordings: by their names and by how they begin. Nothing is decoded."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

# Files of these kinds are tried however they begin: raw MP3 has no header, and one that is damaged is to be reported.
AUDIO_SUFFIXES = (
    *(".3ga", ".3gp", ".aac", ".aif", ".aifc", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4b"),
    *(".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".qta", ".wav", ".webm", ".wma"),
)
START_BYTES = 512  # of a file, which `BEGINNINGS` needs
BEGINNINGS = re.compile(
    rb"""
      (RIFF|RIFX|RF64|BW64) .{4} (WAVE|AVI[ ])     # not WebP pictures
    | riff\x2e\x91\xcf\x11                         # Wave64
    | FORM .{4} (AIFF|AIFC|8SVX|16SV)
    | [.]snd\x00 | caff\x00 | fLaC | OggS\x00 | wvpk | TTA[12] | MAC[ ].[\x0c-\x0f]  # the last: Monkey's Audio
    | [#]!AMR | \x0b\x77 | NIST_1A\n | Creative[ ]Voice[ ]File  # \x0b\x77: AC-3
    | ID3[\x02-\x04]                               # MP3, or another kind, behind a tag
    | \xff[\xe2\xe3\xf2-\xf5\xfa-\xfd][\x10-\xef]  # a frame of MPEG layer II or III; \xff\xfe is that of UTF-16
    | \xff[\xf0\xf1\xf8\xf9]                       # ADTS AAC
    | [\x00-\x1f].{3} (moov|mdat|wide|free|skip|pnot|ftyp (?!hei|hev|mif1|msf1|avif|avis|crx))  # no pictures
    | \x1a\x45\xdf\xa3                             # Matroska, WebM
    | \x30\x26\xb2\x75\x8e\x66\xcf\x11             # ASF: WMA, WMV
    | FLV\x01 | \x00\x00\x01\xba                   # Flash; MPEG program stream
    | G.{187}G.{187}G | .{4}G.{191}G.{191}G        # MPEG transport stream, without and with time stamps
    """,
    re.VERBOSE | re.DOTALL,
)


def begins_like_recording(start: bytes) -> bool:
    """Whether a file with these first `START_BYTES` is of a kind that may hold sound.

    >>> begins_like_recording(b"fLaC" + bytes(38)), begins_like_recording(b"A text")
    (True, False)
    """
    return BEGINNINGS.match(start) is not None


def may_be_recording(path: str | Path) -> bool:
    """Whether a file may be a recording: by its suffix, or else by how it begins."""
    if str(path).lower().endswith(AUDIO_SUFFIXES):
        return True
    if not os.path.isfile(path):  # a pipe, which might never end
        return False
    try:
        with open(path, "rb") as file:
            return begins_like_recording(file.read(START_BYTES))
    except OSError:
        return True  # who reads it says what is wrong


def is_hidden(path: PurePath) -> bool:
    """Whether a relative path is that of a hidden file, lies in a hidden folder or is what macOS adds to archives."""
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts)
