"""Decode files: by soundfile what libsndfile knows, by PyAV what phones and browsers record."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
import soxr

from ser_hf.audio.errors import AudioError, EmptyAudioError, TooLongError, UnreadableAudioError
from ser_hf.audio.joined import content_of, counts_frames_twice, loses_sound, starts_of

BLOCK_FRAMES = 1 << 13  # decoded at a time: a header that claims hours costs nothing, a broken file loses one block
LENGTH_UNKNOWN = 2**63 - 1  # libsndfile's SF_COUNT_MAX
STREAM_SIZE = 2**31 - 2**16  # bytes; from here on, the size of a wav is what programs write when they do not know it
AV_OPTIONS = {
    # FFmpeg also opens playlists, which fetch other files and addresses; these containers only hold sound or film.
    "format_whitelist": "aac,ac3,aiff,amr,ape,asf,au,avi,caf,flac,flv,mov,mp4,matroska,webm,mp3,mpeg,mpegts,ogg,"
    "tta,w64,wav,wv",
    "protocol_whitelist": "file",
    "max_pixels": "1",  # no picture is decoded: the cover in a file of a few kB may have gigabytes
    "max_streams": "64",  # a decoder is made ready for each
}
# In these the length is written down; elsewhere FFmpeg guesses it from the bit rate.
WITH_LENGTH = ("matroska", "mov")
SHORTER_SECONDS = 0.25  # than the length that is written down: codecs add and drop some
TRIED_TRACKS = 8  # of a file with several, for one that is not silent
QUIET = 0.003  # the loudest sample of a track without sound
URL = re.compile(r"[a-zA-Z][\w+.-]+:/")  # two letters or more: one is a drive of Windows

Opened = tuple[Iterator[np.ndarray], int, list[str]]  # blocks (samples, channels), their rate, growing warnings


def check_path(path: str | Path) -> None:
    """Say what is wrong with a path, before decoders say it in their way (or wait for a named pipe)."""
    if not str(path):
        raise UnreadableAudioError("there is no path in ''; name a file")
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode):
            Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        if URL.match(str(path)):
            raise UnreadableAudioError(f"{path}: a URL; download it, and give the path of the file") from None
        if isinstance(error, FileNotFoundError):
            raise UnreadableAudioError(f"{path}: there is no such file") from None
        raise UnreadableAudioError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableAudioError(f"{path}: a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableAudioError(f"{path}: not a file")
    if status.st_size == 0:
        raise EmptyAudioError(f"{path}: the file is empty (0 bytes)")


def open_file(name: str, source: Path | bytes, max_seconds: float | None) -> Opened:
    """Open a file, or several that are joined in one; nothing is decoded yet.

    Returns:
        Iterator over blocks, float (samples, channels), their rate in Hz, and a list of warnings that grows.
    """
    with content_of(source) as content:
        starts = starts_of(content)
        parts = [content[start:end] for start, end in itertools.pairwise([*starts, None])] if len(starts) > 1 else []
    if not parts:
        return _open_one(name, source, max_seconds)
    blocks, rate, warnings = _open_one(name, parts[0], max_seconds)
    warnings.append(f"the file is {len(parts)} recordings joined; they were read as one")
    return _joined_blocks(name, blocks, parts[1:], rate, warnings, max_seconds), rate, warnings


def _joined_blocks(
    name: str,
    blocks: Iterator[np.ndarray],
    parts: Sequence[bytes],
    rate: int,
    warnings: list[str],
    max_seconds: float | None,
) -> Iterator[np.ndarray]:
    """The blocks of the first part, and those of the others at its rate."""
    yield from blocks
    for number, part in enumerate(parts, start=2):
        try:
            blocks, own_rate, found = _open_one(name, part, max_seconds)
            if own_rate == rate:
                yield from blocks
            elif read := list(blocks):
                yield soxr.resample(np.concatenate(read), own_rate, rate)
        except AudioError:
            warnings.append(f"part {number} cannot be decoded, and was left out")
        else:
            warnings += found


def _open_one(name: str, source: Path | bytes, max_seconds: float | None) -> Opened:
    """Open with soundfile, or else with PyAV."""
    warnings: list[str] = []
    with content_of(source) as content:
        is_short, is_joined = loses_sound(content), counts_frames_twice(content)
    if is_short:
        warnings.append("its header gives a wrong length; all of the file was read")
        return _open_with_av(name, source, max_seconds, warnings, {"ignore_length": "1"})
    if is_joined:
        return _open_with_av(name, source, max_seconds, warnings)
    # Names that are not valid text exist outside of Windows, and soundfile takes those as bytes alone.
    path = source if isinstance(source, bytes) or os.name == "nt" else os.fsencode(source)
    try:
        file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return _open_with_av(name, source, max_seconds, warnings)
    if not 0 < file.frames < LENGTH_UNKNOWN:  # a stream, or a recorder that never came back to write the length
        file.close()
        return _open_with_av(name, source, max_seconds, warnings)
    if max_seconds is not None and file.frames > max_seconds * file.samplerate:
        with file:
            raise too_long(name, file.frames / file.samplerate, max_seconds)
    return _soundfile_blocks(name, file, warnings), file.samplerate, warnings


def _soundfile_blocks(name: str, file: soundfile.SoundFile, warnings: list[str]) -> Iterator[np.ndarray]:
    # libsndfile quietly shortens a wav whose data chunk is longer than the file, and only notes it in its log.
    note = re.search(r"^data : (\d+) \(should be", file.extra_info, re.MULTILINE)
    cut_off, read = bool(note and int(note[1]) < STREAM_SIZE), 0
    with file:
        while True:
            try:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not read:
                    raise UnreadableAudioError(f"{name}: cannot be decoded ({error.error_string})") from None
                break
            if not len(block):
                break
            read += len(block)
            yield block
        if cut_off or read < file.frames:
            warnings.append(f"the file is cut off; the {read / file.samplerate:.2f} s that are there were used")


def _open_with_av(
    name: str,
    source: Path | bytes,
    max_seconds: float | None,
    warnings: list[str],
    options: Mapping[str, str] = MappingProxyType({}),
) -> Opened:
    """Open with PyAV; of several sound tracks, the first with sound."""
    container = _container(name, source, options)
    tracks = container.streams.audio
    if not tracks:
        container.close()
        raise UnreadableAudioError(f"{name}: holds no sound track")
    chosen = 0
    if len(tracks) > 1:
        tried = range(min(len(tracks), TRIED_TRACKS))
        chosen = next((index for index in tried if _has_sound(name, source, options, index, max_seconds)), 0)
        warnings.append(f"holds {len(tracks)} sound tracks; track {chosen + 1} was used")
    stream = tracks[chosen]
    if stream.codec_context is None or not stream.rate:
        container.close()
        raise UnreadableAudioError(f"{name}: in a format that cannot be decoded")
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = ((container.duration or 0) - (container.start_time or 0)) / 1e6
    if max_seconds is not None and seconds > max_seconds:
        container.close()
        raise too_long(name, seconds, max_seconds)
    return _av_blocks(name, container, chosen, seconds, warnings), stream.rate, warnings


def _container(name: str, source: Path | bytes, options: Mapping[str, str]) -> Any:
    import av  # 0.1 s, and only for what soundfile cannot open

    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    try:
        return av.open(file, options=AV_OPTIONS | dict(options), metadata_errors="ignore")
    except MemoryError:  # what FFmpeg says, too, where there are more tracks or a longer index than it allows
        raise UnreadableAudioError(f"{name}: takes too much memory to open") from None
    except (av.FFmpegError, OSError, ValueError):
        raise UnreadableAudioError(f"{name}: not an audio file that can be read") from None


def _has_sound(
    name: str, source: Path | bytes, options: Mapping[str, str], track: int, max_seconds: float | None
) -> bool:
    """Whether a track can be decoded and is anywhere louder than silence; no more is decoded than shows that."""
    container = _container(name, source, options)
    stream = container.streams.audio[track]
    if stream.codec_context is None or not stream.rate:
        container.close()
        return False
    left = math.inf if max_seconds is None else max_seconds * stream.rate
    with contextlib.suppress(UnreadableAudioError):
        for block in _av_blocks(name, container, track, 0, []):
            left -= len(block)
            if left < 0 or np.abs(block).max(initial=0) > QUIET:
                return left >= 0
    return False


def _av_blocks(name: str, container: Any, track: int, seconds: float, warnings: list[str]) -> Iterator[np.ndarray]:
    """Blocks (samples, channels) of a sound track, which by its header has so many seconds."""
    import av

    stream, read = container.streams.audio[track], 0
    # Where a track has no length of its own, that of the file may be its film's.
    has_length = bool(stream.duration) or not container.streams.video
    # Only the number format changes. Interleaved: in planes, PyAV 18 reads past the end where there are eight or more.
    to_float = av.AudioResampler(format="flt", rate=stream.rate)
    with container:
        try:
            for frame in container.decode(stream):
                for part in to_float.resample(frame):
                    read += part.samples
                    yield part.to_ndarray().reshape(-1, part.layout.nb_channels)
        except (av.FFmpegError, ValueError, IndexError) as error:  # the last: a track that no header names
            if not read:
                raise UnreadableAudioError(
                    f"{name}: cannot be decoded ({getattr(error, 'strerror', None) or error})"
                ) from None
            warnings.append("the file is damaged or cut off; what comes before was used")
        else:
            decoded = read / stream.rate
            by_header = has_length and container.format.name.split(",")[0] in WITH_LENGTH
            if read and by_header and decoded < seconds - SHORTER_SECONDS:
                warnings.append(f"the file is cut off: {decoded:.2f} of {seconds:.2f} s are there, and were used")


def too_long(name: str, seconds: float, max_seconds: float, at_least: bool = False) -> TooLongError:
    """The error that says so; ``at_least``: nobody knows how much longer."""
    length = f"{'more than ' if at_least else ''}{seconds:.0f} s"
    return TooLongError(f"{name}: {length} long; at most {max_seconds:g} s are taken, send a part of it")
