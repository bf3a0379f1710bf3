"""Read a recording from wherever it is: check, mix down and resample it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ser_hf.audio.channels import CHANNELS, combine, high_pass
from ser_hf.audio.decoding import Opened, check_path, open_file, too_long
from ser_hf.audio.errors import AudioError, EmptyAudioError, InvalidSamplesError, UnreadableAudioError

SAMPLE_RATE = 16_000
READING_VERSION = 2  # raise it whenever samples change: what was cached with another is not used
INTEGER_SCALES = {"int8": (0, 2**7), "uint8": (2**7, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}
RATES = (1_000, 1_000_000)  # sample rates (Hz) outside of which a header is taken to be wrong
RATE_KEYS = ("sampling_rate", "sample_rate", "sr", "rate")
LARGEST = 2.0**31  # floats that hold raw 32-bit integers; what is larger is no sound


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording.

    Attributes:
        samples: float32, shape (n,), within [-1, 1], n >= 1.
        sample_rate: of `samples`, in Hz.
        name: what messages call it: the path as it was given, or "recording".
        warnings: sentences about what is usable but not as it should be (cut off, clipped, telephone band).
        n_channels: of the file, before they were combined.
    """

    samples: np.ndarray
    sample_rate: int
    name: str
    warnings: tuple[str, ...] = ()
    n_channels: int = 1

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_audio(
    source: Any, sample_rate: int | None = SAMPLE_RATE, max_seconds: float | None = None, channels: str = "mix"
) -> Recording:
    """Read any recording as one channel at `sample_rate` (soxr's HQ resampler), without hum and rumble.

    Args:
        source: a path; the bytes of a file, or an open binary file; a dict with "path" and/or "bytes"
            (`datasets.Audio(decode=False)`), and "channels", if wanted; a dict with "array" or "raw", and
            "sampling_rate"; a tuple of rate and array, in any order; a decoder of torchcodec; or an array at
            `sample_rate`. Arrays, also of torch, are (n,), (n, channels) or (channels, n), the shorter side being the
            channels; integers are scaled by the full scale of their dtype. soundfile opens wav, flac, ogg, opus and
            mp3; PyAV opens m4a, webm and the like.
        sample_rate: of the result, in Hz; None keeps the recording's own (for an array without one: 16 kHz).
        max_seconds: refuse what is longer; the header is read before anything is decoded.
        channels: "mix" for all of them (see `ser_hf.audio.channels.combine`), or "left" or "right" of two.

    Raises:
        UnreadableAudioError, EmptyAudioError, InvalidSamplesError, TooLongError: each names the file.
        TypeError: `source` is none of the above.
    """
    if isinstance(source, dict):
        channels = source.get("channels", channels)
    if channels not in CHANNELS:
        raise ValueError(f"channels: {', '.join(CHANNELS)}, not {channels!r}")
    name, (blocks, rate, warnings) = _open(source, sample_rate or SAMPLE_RATE, max_seconds)
    sample_rate = sample_rate or rate
    if not RATES[0] <= rate <= RATES[1]:
        raise UnreadableAudioError(f"{name}: a sample rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz")
    # Resampled block by block: memory holds what the prediction needs, at whatever rate it was recorded.
    resampler, n_channels, n_kept = None, 0, 1
    kept, peak, n_clipped, n_values, n_samples = bytearray(), 0.0, 0, 0, 0
    for block in blocks:  # float, (samples, channels)
        n_samples += len(block)
        if max_seconds is not None and n_samples > max_seconds * rate:
            raise too_long(name, n_samples / rate, max_seconds, at_least=True)
        magnitude = np.abs(block)
        if not (magnitude <= LARGEST).all():  # NaN compares false
            raise InvalidSamplesError(f"{name}: holds samples that are no sound (NaN or infinite)")
        peak = max(peak, float(magnitude.max(initial=0.0)))
        n_clipped += int((magnitude >= 0.999).sum())
        n_values += block.size
        if not n_channels:
            n_channels = block.shape[1]
            n_kept = 2 if n_channels == 2 else 1  # more than two are averaged at once
            resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, n_kept, quality="HQ")
        part = block.astype(np.float32, copy=False)
        if part.shape[1] != n_kept:
            part = np.repeat(part.mean(axis=1, dtype=np.float32)[:, None], n_kept, axis=1)
        kept += np.ascontiguousarray(part if resampler is None else resampler.resample_chunk(part)).tobytes()
    if not n_samples:
        raise EmptyAudioError(f"{name}: holds no sound (0 samples)")
    if resampler is not None:
        kept += resampler.resample_chunk(np.zeros((0, n_kept), np.float32), last=True).tobytes()
    if not kept:
        raise EmptyAudioError(f"{name}: too few samples to resample")
    found = np.frombuffer(kept, np.float32).reshape(-1, n_kept)
    high_pass(found, sample_rate)
    if channels != "mix" and n_channels != 2:
        raise UnreadableAudioError(f"{name}: has {n_channels} channels, and no {channels} one: take mix")
    if channels == "mix" and n_kept == 2:
        samples, said = combine(found, sample_rate)
        warnings += said
    else:
        samples = found[:, int(channels == "right")]
    samples = np.ascontiguousarray(samples)
    if peak > 1:
        samples /= np.float32(peak)
        warnings.append(f"reaches {peak:.3g} times full scale; scaled down to fit")
    elif n_clipped > max(3, 0.001 * n_values):
        warnings.append(f"clipped: {100 * n_clipped / n_values:.1f} % of the samples are at full scale")
    if rate < sample_rate:
        warnings.append(f"recorded at {rate} Hz: it holds nothing above {rate // 2} Hz, so the prediction may be worse")
    return Recording(np.clip(samples, -1, 1, out=samples), sample_rate, name, tuple(warnings), n_channels)


def channel_count(source: Any) -> int:
    """How many channels a recording has, one where it cannot be read; ``source`` as in `read_audio`."""
    try:
        _, (blocks, _, _) = _open(source, SAMPLE_RATE, None)
        return next(iter(blocks)).shape[1]
    except (AudioError, StopIteration):
        return 1


def load_audio(
    source: Any, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None, channels: str = "mix"
) -> np.ndarray:
    """The samples of `read_audio`: float32, shape (n,), within [-1, 1]."""
    return read_audio(source, sample_rate, max_seconds, channels).samples


def _open(source: Any, sample_rate: int, max_seconds: float | None) -> tuple[str, Opened]:
    """The name of a recording, and what `ser_hf.audio.decoding.open_file` returns."""
    name = "recording"
    if isinstance(source, dict):
        name = str(source.get("path") or name)
        array = next((source[key] for key in ("array", "raw") if source.get(key) is not None), None)
        if array is not None:
            return name, _samples(name, array, next((source[key] for key in RATE_KEYS if key in source), None))
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
        if source is None:
            raise TypeError(f"a recording given as a dict needs 'path', 'bytes', 'array' or 'raw'; {name} has none")
    if isinstance(source, tuple) and len(source) == 2:
        array, rate = source if np.ndim(source[1]) == 0 else source[::-1]
        return name, _samples(name, array, rate)
    if hasattr(source, "get_all_samples"):  # a decoder of torchcodec, as `datasets.Audio()` gives it
        decoded = source.get_all_samples()
        return name, _samples(name, decoded.data, decoded.sample_rate)
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        check_path(name)
        return name, open_file(name, Path(name), max_seconds)
    file = getattr(source, "file", source)  # an upload of FastAPI holds one
    if hasattr(file, "read"):
        if hasattr(file, "seek"):
            file.seek(0)
        source = file.read()
        name = next(one for one in (getattr(file, "name", None), name) if isinstance(one, str))
        if isinstance(source, str):
            raise TypeError(f"{name}: opened as text; open it with mode 'rb'")
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise EmptyAudioError(f"{name}: holds no bytes")
        return name, open_file(name, bytes(source), max_seconds)
    if isinstance(source, list) and source and isinstance(source[0], (str, bytes, os.PathLike, dict)):
        raise TypeError("this is a list of recordings: predict_many takes those, one after the other")
    if not hasattr(source, "__array__") and not isinstance(source, list):
        raise TypeError(f"a recording is a path, bytes, a file, an array, (rate, array) or a dict, not {type(source)}")
    return name, _samples(name, source, sample_rate)


def _samples(name: str, array: Any, rate: Any) -> Opened:
    """An array as one block."""
    try:
        hertz = float(rate)
    except (TypeError, ValueError):
        hertz = math.nan
    if not 0 < hertz < math.inf:
        raise UnreadableAudioError(
            f"{name}: an array needs its sampling rate in Hz, as (rate, array) or under 'sampling_rate', not {rate!r}"
        )
    return iter([_as_float(name, array)]), round(hertz), []


def _as_float(name: str, array: Any) -> np.ndarray:
    """An array as floats of shape (samples, channels), integers scaled by the full scale of their dtype."""
    if hasattr(array, "detach"):  # a tensor of torch, whose bfloat16 numpy does not know
        array = array.detach().cpu()
        array = array.float() if array.dtype.is_floating_point else array
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
    elif array.dtype == np.float16:  # too small for the sums that follow
        array = array.astype(np.float32)
    return array.reshape(len(array), -1) if array.size else np.zeros((0, 1), np.float32)
