"""Make the page's example clips from their table, with the speech synthesizer espeak-ng.

Examples:

    python -m app.examples.make
    python -m app.examples.make --output runs/examples

Exit status: 0, or 2 where espeak-ng is not there or fails.
"""

from __future__ import annotations

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

from app.examples import EXAMPLES, FOLDER, Example, Passage
from ser_hf.command_line import CommandParser

PROGRAM = "espeak-ng"
PAUSE_SECONDS = 0.4  # between two passages
AMPLITUDE = "50"  # at 100, espeak-ng's default, some of its high voices clip
NOISE_POLE = 0.9  # of the low-pass that makes white noise sound like a room's
SEED = 0


def make_clip(clip: Example) -> np.ndarray:
    """The samples of one clip; the same version of espeak-ng gives the same.

    Returns:
        float64, shape (n,), at ``clip.sample_rate``, within [-1, 1].

    Raises:
        OSError: espeak-ng is not there.
        subprocess.CalledProcessError: espeak-ng failed.
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
    """One passage as espeak-ng speaks it, at its level and in its timbre: float64, shape (n,)."""
    markup = f'<speak><prosody range="{passage.pitch_range}%">{escape(passage.text)}</prosody></speak>'
    voice = ["-v", passage.voice, "-p", str(passage.pitch), "-s", str(passage.speed), "-a", AMPLITUDE]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "voice.wav")
        subprocess.run([PROGRAM, "-m", *voice, "-w", file, markup], check=True, capture_output=True, text=True)
        samples, rate = soundfile.read(file)
    samples = soxr.resample(samples, rate, sample_rate)
    if passage.tilt > 0:
        samples = lfilter([1, -passage.tilt], [1], samples)
    elif passage.tilt < 0:
        samples = lfilter([1], [1, passage.tilt], samples)
    samples /= np.abs(samples).max()
    if passage.drive:
        samples = np.tanh(passage.drive * samples) / np.tanh(passage.drive)
    return samples * 10 ** (passage.peak_db / 20)


def room_noise(n_samples: int, level_db: float) -> np.ndarray:
    """Noise like that of a quiet room, always the same: float64, shape (n_samples,), ``level_db`` its RMS."""
    white = np.random.default_rng(SEED).standard_normal(n_samples)
    noise = lfilter([1], [1, -NOISE_POLE], white)
    return noise / np.sqrt(np.mean(noise**2)) * 10 ** (level_db / 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Write every clip; returns the exit status: 2 where espeak-ng is not there or fails."""
    folder = build_parser().parse_args(argv).output
    try:
        made = {clip: make_clip(clip) for clip in EXAMPLES}
    except FileNotFoundError:
        print(f"{PROGRAM} is not installed (on Debian: apt-get install {PROGRAM})", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"{PROGRAM} failed: {error.stderr.strip()}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for clip, samples in made.items():
        soundfile.write(folder / clip.file, samples, clip.sample_rate, subtype="PCM_16", compression_level=1.0)
        print(f"{folder / clip.file}: {len(samples) / clip.sample_rate:.1f} s")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m app.examples.make", doc=__doc__)
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="folder that is written (default: app/examples)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
