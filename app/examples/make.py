"""Make the page's example clips from their table, with the speech synthesizer espeak-ng.

Examples:

    python -m app.examples.make
    python -m app.examples.make --output runs/examples

Exit status: 0, or 2 where espeak-ng is not there or fails.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, lfilter, sosfilt

from app.examples import FOLDER
from app.examples.table import CLIPS, ESPEAK_NG_VERSION, Clip, Passage
from ser_hf.command_line import CommandParser

PROGRAM = "espeak-ng"
PAUSE_SECONDS = 0.4  # between two passages
# At 100, espeak-ng's default, some of its high voices clip.
AMPLITUDE = 50
NOISE_POLE = 0.9  # of the low-pass that makes white noise sound like a room's
SEED = 0


class SynthesizerError(RuntimeError):
    """espeak-ng is not there, or failed; the message says what to do."""


def espeak_version() -> str:
    """The version of the installed espeak-ng, as "1.51".

    Raises:
        SynthesizerError: it is not installed, or does not say its version.
    """
    answer = _espeak("--version")
    version = re.search(r"\d+\.\d+(\.\d+)?", answer)
    if not version:
        raise SynthesizerError(f"{PROGRAM} --version says {answer.strip()!r}, which names no version")
    return version[0]


def make_clip(clip: Clip) -> np.ndarray:
    """The samples of one clip; the same version of espeak-ng gives the same.

    Returns:
        float64, shape (n,), at ``clip.sample_rate``, within [-1, 1].

    Raises:
        SynthesizerError: espeak-ng is not there, or failed.
    """
    edge, pause = (np.zeros(round(s * clip.sample_rate)) for s in (clip.edge_seconds, PAUSE_SECONDS))
    parts = [edge]
    for position, passage in enumerate(clip.passages):
        parts += [pause] * (position > 0) + [speak(passage, clip.sample_rate)]
    samples = np.concatenate([*parts, edge])
    samples += room_noise(len(samples), clip.noise_db)
    if clip.band:
        samples = sosfilt(butter(4, clip.band, "bandpass", fs=clip.sample_rate, output="sos"), samples)
    return np.clip(samples, -1, 1)


def speak(passage: Passage, sample_rate: int) -> np.ndarray:
    """One passage as espeak-ng speaks it, at its level and in its timbre: float64, shape (n,).

    Raises:
        SynthesizerError: espeak-ng is not there, or failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "voice.wav"
        settings = {"-v": passage.voice, "-p": passage.pitch, "-s": passage.speed, "-a": AMPLITUDE, "-w": file}
        markup = f'<speak><prosody range="{passage.pitch_range}%">{escape(passage.text)}</prosody></speak>'
        _espeak("-m", *(str(part) for setting in settings.items() for part in setting), markup)
        samples, rate = soundfile.read(file)
    samples = soxr.resample(samples, rate, sample_rate)
    if passage.tilt > 0:
        samples = lfilter([1, -passage.tilt], [1], samples)
    elif passage.tilt < 0:
        samples = lfilter([1], [1, passage.tilt], samples)
    samples /= np.abs(samples).max()
    if passage.drive:
        samples = np.tanh(passage.drive * samples) / np.tanh(passage.drive)
    return samples * _factor(passage.peak_db)


def room_noise(n_samples: int, level_db: float) -> np.ndarray:
    """Noise like that of a quiet room, always the same: float64, shape (n_samples,), ``level_db`` its RMS."""
    white = np.random.default_rng(SEED).standard_normal(n_samples)
    noise = lfilter([1], [1, -NOISE_POLE], white)
    return noise / np.sqrt(np.mean(noise**2)) * _factor(level_db)


def main(argv: Sequence[str] | None = None) -> int:
    """Write every clip; returns the exit status: 2 where espeak-ng is not there or fails."""
    folder = build_parser().parse_args(argv).output
    try:
        version = espeak_version()
        made = {clip: make_clip(clip) for clip in CLIPS}
    except SynthesizerError as error:
        print(f"The examples cannot be made: {error}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for clip, samples in made.items():
        soundfile.write(folder / clip.file, samples, clip.sample_rate, subtype="PCM_16", compression_level=1.0)
        print(f"{folder / clip.file}: {len(samples) / clip.sample_rate:.1f} s")
    if version != ESPEAK_NG_VERSION:
        print(
            f"These were made by {PROGRAM} {version}, those of the repository by {ESPEAK_NG_VERSION}: to keep them, "
            "commit them all, and change ESPEAK_NG_VERSION in app/examples/table.py.",
            file=sys.stderr,
        )
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m app.examples.make", doc=__doc__)
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="folder that is written (default: app/examples)"
    )
    return parser


def _espeak(*arguments: str) -> str:
    """What espeak-ng prints."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise SynthesizerError(f"{PROGRAM} is not installed (on Debian: apt-get install {PROGRAM})")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SynthesizerError(f"{PROGRAM} failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def _factor(decibels: float) -> float:
    return 10 ** (decibels / 20)


if __name__ == "__main__":
    sys.exit(main())
