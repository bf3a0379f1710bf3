"""Read, decode, check, mix down, resample, trim and window recordings.

Everything that enters a model comes through `read_audio`: float32, one channel, one rate, no NaN, within [-1, 1].
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from ser_hf.errors import SerHfError

SAMPLE_RATE = 16_000
SILENCE_PEAK = 0.003  # the quietest clip of RAVDESS peaks at 0.006
MIN_SECONDS = 0.25  # a syllable; what is shorter holds no emotion

FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
FRAMES_AT_ONCE = 1 << 14  # almost three minutes
RATES = (1_000, 1_000_000)  # sample rates (Hz) outside of which a header is taken to be wrong
WINDOW_SILENCE = 0.01  # of the recording's peak: 40 dB below it
LARGEST = 2.0**31  # floats that hold raw 32-bit integers; what is larger is no sound

BLOCK_FRAMES = 1 << 13  # decoded at a time: a header that claims hours costs nothing, a broken file loses one block
LENGTH_UNKNOWN = 2**63 - 1  # libsndfile's SF_COUNT_MAX
STREAM_SIZE = 2**31 - 2**16  # bytes; from here on, the size of a wav is what programs write when they do not know it
INTEGER_SCALES = {"int8": (0, 2**7), "uint8": (2**7, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}
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


class AudioError(SerHfError):
    """A recording that cannot be used; the message names it and says why."""


class UnreadableAudioError(AudioError):
    """Not there, not a file, or nothing that a decoder understands."""


class EmptyAudioError(AudioError):
    """No sample at all."""


class InvalidSamplesError(AudioError):
    """Samples that are not sound: NaN, infinite, complex, text, a wrong shape."""


class SilenceError(AudioError):
    """Nothing is louder than `SILENCE_PEAK`."""


class TooShortError(AudioError):
    """Less than `MIN_SECONDS` of sound."""


class TooLongError(AudioError):
    """More than the caller allows."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording.

    Attributes:
        samples: float32, shape (n,), within [-1, 1], n >= 1.
        sample_rate: of `samples`, in Hz.
        name: what messages call it: the path as it was given, or "recording".
        warnings: sentences about what is usable but not as it should be (cut off, clipped, telephone band).
    """

    samples: np.ndarray
    sample_rate: int
    name: str
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_audio(source: Any, sample_rate: int | None = SAMPLE_RATE, max_seconds: float | None = None) -> Recording:
    """Read any recording as one channel at `sample_rate` (channel mean, then soxr's HQ resampler).

    Args:
        source: a path; the bytes of a file; a dict with "path" and/or "bytes" (`datasets.Audio(decode=False)`); a dict
            with "array" or "raw", and "sampling_rate"; a tuple (rate, array); or an array at `sample_rate`. Arrays are
            (n,), (n, channels) or (channels, n), the shorter side being the channels; integers are scaled by the full
            scale of their dtype. soundfile opens wav, flac, ogg, opus and mp3; PyAV opens m4a, webm and the like.
        sample_rate: of the result, in Hz; None keeps the recording's own (for an array without one: 16 kHz).
        max_seconds: refuse what is longer; the header is read before anything is decoded.

    Raises:
        UnreadableAudioError, EmptyAudioError, InvalidSamplesError, TooLongError: each names the file.
        TypeError: `source` is none of the above.
    """
    name, blocks, rate, warnings = _open(source, sample_rate or SAMPLE_RATE, max_seconds)
    sample_rate = sample_rate or rate
    if not RATES[0] <= rate <= RATES[1]:
        raise UnreadableAudioError(f"{name}: a sample rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz")
    # Resampled block by block: memory holds what the prediction needs, at whatever rate it was recorded.
    resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, "float32", quality="HQ")
    kept, peak, n_clipped, n_values, n_samples = bytearray(), 0.0, 0, 0, 0
    for block in blocks:  # float, (samples, channels)
        n_samples += len(block)
        if max_seconds is not None and n_samples > max_seconds * rate:
            raise _too_long(name, n_samples / rate, max_seconds, at_least=True)
        magnitude = np.abs(block)
        if not (magnitude <= LARGEST).all():  # NaN compares false
            raise InvalidSamplesError(f"{name}: holds samples that are no sound (NaN or infinite)")
        peak = max(peak, float(magnitude.max(initial=0.0)))
        n_clipped += int((magnitude >= 0.999).sum())
        n_values += block.size
        mono = block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0].astype(np.float32)
        kept += (mono if resampler is None else resampler.resample_chunk(mono)).tobytes()
    if not n_samples:
        raise EmptyAudioError(f"{name}: holds no sound (0 samples)")
    if resampler is not None:
        kept += resampler.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
    if not kept:
        raise EmptyAudioError(f"{name}: too few samples to resample")
    samples = np.frombuffer(kept, np.float32)
    if peak > 1:
        samples /= np.float32(peak)
        warnings.append(f"reaches {peak:.3g} times full scale; scaled down to fit")
    elif n_clipped > max(3, 0.001 * n_values):
        warnings.append(f"clipped: {100 * n_clipped / n_values:.1f} % of the samples are at full scale")
    if rate < sample_rate:
        warnings.append(f"recorded at {rate} Hz: it holds nothing above {rate // 2} Hz, so the prediction may be worse")
    return Recording(np.clip(samples, -1, 1, out=samples), sample_rate, name, tuple(warnings))


def load_audio(source: Any, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> np.ndarray:
    """The samples of `read_audio`: float32, shape (n,), within [-1, 1]."""
    return read_audio(source, sample_rate, max_seconds).samples


def _open(source: Any, sample_rate: int, max_seconds: float | None):
    """What `source` holds: (name, iterator over float blocks (samples, channels), rate, growing list of warnings)."""
    name, array, rate = "recording", None, sample_rate
    if isinstance(source, dict):
        name = str(source.get("path") or name)
        array = next((source[key] for key in ("array", "raw") if source.get(key) is not None), None)
        if array is not None:
            rate = source.get("sampling_rate") or sample_rate
        else:
            source = source.get("path") if source.get("bytes") is None else source["bytes"]
    elif isinstance(source, tuple) and len(source) == 2:
        rate, array = source
    elif not isinstance(source, (str, Path, bytes, bytearray)):
        if not hasattr(source, "__array__") and not isinstance(source, list):
            raise TypeError(f"a recording is a path, bytes, an array, (rate, array) or a dict, not {type(source)}")
        array = source
    if array is not None:
        return name, iter([_as_float(name, array)]), int(rate), []
    if isinstance(source, (bytes, bytearray)):
        if not source:
            raise EmptyAudioError(f"{name}: holds no bytes")
        return _open_file(name, bytes(source), max_seconds)
    if isinstance(source, (str, Path)):
        check_path(source)
        return _open_file(str(source), Path(source), max_seconds)
    raise TypeError(f"a recording given as a dict needs 'path', 'bytes', 'array' or 'raw'; {name} has none")


def _as_float(name: str, array: Any) -> np.ndarray:
    """An array as floats of shape (samples, channels), integers scaled by the full scale of their dtype."""
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    if array.ndim not in (1, 2):
        raise InvalidSamplesError(f"{name}: samples of shape {array.shape}; expected (samples,) or (samples, channels)")
    if array.dtype.name in INTEGER_SCALES:
        offset, scale = INTEGER_SCALES[array.dtype.name]
        array = (array.astype(np.float64) - offset) / scale
    elif array.dtype.kind != "f" and array.size:
        raise InvalidSamplesError(
            f"{name}: samples of type {array.dtype}; expected floats within [-1, 1], or {', '.join(INTEGER_SCALES)}"
        )
    return array.reshape(len(array), -1) if array.size else np.zeros((0, 1), np.float32)


def check_path(path: str | Path) -> None:
    """Say what is wrong with a path, before decoders say it in their way (or wait for a named pipe)."""
    if not str(path):
        raise UnreadableAudioError("there is no path in ''; name a file")
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode):
            Path(path).open("rb").close()
    except FileNotFoundError:
        raise UnreadableAudioError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UnreadableAudioError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableAudioError(f"{path}: a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableAudioError(f"{path}: not a file")
    if status.st_size == 0:
        raise EmptyAudioError(f"{path}: the file is empty (0 bytes)")


def _open_file(name: str, source: Path | bytes, max_seconds: float | None):
    """Open with soundfile, or else with PyAV; nothing is decoded yet."""
    warnings: list[str] = []
    # Names that are not valid text exist outside of Windows, and soundfile takes those as bytes alone.
    path = source if isinstance(source, bytes) or os.name == "nt" else os.fsencode(source)
    try:
        file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return name, *_open_with_av(name, source, max_seconds, warnings), warnings
    if not 0 < file.frames < LENGTH_UNKNOWN:  # a stream, or a recorder that never came back to write the length
        file.close()
        return name, *_open_with_av(name, source, max_seconds, warnings), warnings
    if max_seconds is not None and file.frames > max_seconds * file.samplerate:
        with file:
            raise _too_long(name, file.frames / file.samplerate, max_seconds)
    return name, _soundfile_blocks(name, file, warnings), file.samplerate, warnings


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


def _open_with_av(name: str, source: Path | bytes, max_seconds: float | None, warnings: list[str]):
    """Open with PyAV: (iterator over blocks, rate)."""
    import av  # 0.1 s, and only for what soundfile cannot open

    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    try:
        container = av.open(file, options=AV_OPTIONS, metadata_errors="ignore")
    except MemoryError:  # what FFmpeg says, too, where there are more tracks or a longer index than it allows
        raise UnreadableAudioError(f"{name}: takes too much memory to open") from None
    except (av.FFmpegError, OSError, ValueError):
        raise UnreadableAudioError(f"{name}: not an audio file that can be read") from None
    if not container.streams.audio:
        container.close()
        raise UnreadableAudioError(f"{name}: holds no sound track")
    stream = container.streams.audio[0]
    if stream.codec_context is None or not stream.rate:
        container.close()
        raise UnreadableAudioError(f"{name}: in a format that cannot be decoded")
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = ((container.duration or 0) - (container.start_time or 0)) / 1e6
    if max_seconds is not None and seconds > max_seconds:
        container.close()
        raise _too_long(name, seconds, max_seconds)
    return _av_blocks(name, container, seconds, warnings), stream.rate


def _av_blocks(name: str, container: Any, seconds: float, warnings: list[str]) -> Iterator[np.ndarray]:
    """Blocks (samples, channels) of the first sound track, which by its header has so many seconds."""
    import av

    stream, read = container.streams.audio[0], 0
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
            decoded, by_header = read / stream.rate, container.format.name.split(",")[0] in WITH_LENGTH
            if read and by_header and decoded < seconds - SHORTER_SECONDS:
                warnings.append(f"the file is cut off: {decoded:.2f} of {seconds:.2f} s are there, and were used")


def _too_long(name: str, seconds: float, max_seconds: float, at_least: bool = False) -> TooLongError:
    """The error that says so; ``at_least``: nobody knows how much longer."""
    length = f"{'more than ' if at_least else ''}{seconds:.0f} s"
    return TooLongError(f"{name}: {length} long; at most {max_seconds:g} s are taken, send a part of it")


def check_speech(recording: Recording) -> None:
    """Refuse what no model can classify.

    Raises:
        SilenceError: no sample is farther than `SILENCE_PEAK` from the mean.
        TooShortError: between the first and the last sound lie less than `MIN_SECONDS`.
    """
    samples = recording.samples
    if len(samples) and peak_level(samples, float(samples.mean(dtype=np.float64))) < SILENCE_PEAK:
        raise SilenceError(f"{recording.name}: silence ({recording.duration:.2f} s); nothing to judge")
    start, end = speech_span(samples, sample_rate=recording.sample_rate)
    seconds = (end - start) / recording.sample_rate
    if seconds < MIN_SECONDS:
        raise TooShortError(f"{recording.name}: {seconds:.2f} s of sound; at least {MIN_SECONDS} s are needed")


def speech_span(samples: np.ndarray, top_db: float = 40.0, sample_rate: int = SAMPLE_RATE) -> tuple[int, int]:
    """Where sound begins and ends: the outermost 25 ms frames (10 ms hop) within `top_db` of the loudest frame.

    Returns:
        (start, end) in samples, 0 <= start <= end <= n; (0, n) when every sample is zero.
    """
    n, frame = len(samples), round(FRAME_SECONDS * sample_rate)
    starts, power = frame_power(samples, sample_rate)
    if power.max() <= 0:
        return 0, n
    loud = np.flatnonzero(power >= power.max() * 10 ** (-top_db / 10))
    return int(starts[loud[0]]), int(min(starts[loud[-1]] + frame, n))


def peak_level(samples: np.ndarray, centre: float = 0.0) -> float:
    """How far the farthest of one or more samples is from ``centre``; needs no memory, however many they are."""
    return max(float(samples.max()) - centre, centre - float(samples.min()))


def frame_power(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, np.ndarray]:
    """Where 25 ms frames (10 ms hop) start, in samples, and the sum of squares in each; there is at least one."""
    n, frame, hop = len(samples), round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    starts = np.arange(0, max(n - frame + hop, 1), hop)
    power = np.empty(len(starts))
    for first in range(0, len(starts), FRAMES_AT_ONCE):
        part = starts[first : first + FRAMES_AT_ONCE]
        kept = samples[part[0] : part[-1] + frame]
        energy = np.concatenate([[0.0], np.cumsum(np.square(kept, dtype=np.float64))])
        part = part - part[0]
        power[first : first + len(part)] = energy[np.minimum(part + frame, len(kept))] - energy[part]
    return starts, power


def trim_silence(samples: np.ndarray, top_db: float = 40.0) -> np.ndarray:
    """The part of 16 kHz `samples` that `speech_span` names, as a view."""
    start, end = speech_span(samples, top_db)
    return samples[start:end]


def sliding_windows(n_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Windows (start, end) that cover `n_samples`: each `window` long, `hop` apart, the last aligned to the end.

    A recording that fits one window is one window of its own length.

    >>> sliding_windows(10, window=4, hop=2)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    >>> sliding_windows(3, window=4, hop=2)
    [(0, 3)]
    """
    if window < 1 or not 1 <= hop <= window:
        raise ValueError(f"need window >= 1 and 1 <= hop <= window, not window={window} and hop={hop}")
    if n_samples <= window:
        return [(0, n_samples)]
    starts = [*range(0, n_samples - window, hop), n_samples - window]
    return [(start, start + window) for start in starts]


def speech_windows(samples: np.ndarray, window_seconds: float) -> list[tuple[int, int]]:
    """Stretches (start, end), in samples, of a recording that a model with such a window is given.

    Silence at both ends is left out of every recording, so that predictions do not depend on it. What is longer than
    the window is cut into windows that overlap by half, of which silent ones (40 dB below the recording) are left out.
    """
    window = round(window_seconds * SAMPLE_RATE)
    first, last = speech_span(samples)
    threshold = WINDOW_SILENCE * peak_level(samples)
    windows = [(first + start, first + end) for start, end in sliding_windows(last - first, window, window // 2)]
    return [(start, end) for start, end in windows if peak_level(samples[start:end]) >= threshold]
