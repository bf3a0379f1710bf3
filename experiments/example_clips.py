"""Make the page's example clips with the speech synthesizer espeak-ng.

Examples:

    python -m experiments.example_clips
    python -m experiments.example_clips --output runs/examples

Exit status: 0, or 2 where espeak-ng is not there or fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, lfilter, sosfilt

from app.examples import FOLDER
from ser_hf.command_line import CommandParser

PROGRAM = "espeak-ng"
PAUSE_SECONDS = 0.4  # between two passages
AMPLITUDE = "50"  # at 100, espeak-ng's default, some of its high voices clip
NOISE_POLE = 0.9  # of the low-pass that makes white noise sound like a room's
SEED = 0
ESPEAK_NG_VERSION = "1.51"  # that made the page's clips; another gives other samples


@dataclass(frozen=True)
class Passage:
    """A sentence, how espeak-ng speaks it, and what is done to the sound.

    Attributes:
        text: what is said.
        voice: espeak-ng's ``-v``: a language, and after ``+`` one of its speakers.
        pitch: espeak-ng's ``-p``, 0 to 99.
        pitch_range: how far the pitch moves, in percent of what the speaker does by default.
        speed: words a minute.
        peak_db: level of the loudest sample; full scale is 0 dB.
        tilt: coefficient of a first-order filter, in (-1, 1): above 0 brightens the voice, below 0 dulls it.
        drive: factor before a soft limit, which makes a voice sound pressed; 0 leaves it out.
    """

    text: str
    voice: str = "en-gb"
    pitch: int = 50
    pitch_range: int = 100
    speed: int = 175
    peak_db: float = -12.0
    tilt: float = 0.0
    drive: float = 0.0


@dataclass(frozen=True)
class Clip:
    """Passages one after another, in a room that is never quite silent.

    Attributes:
        passages: the spoken passages; none leaves background noise alone.
        noise_db: level (RMS) of the room's noise; full scale is 0 dB.
        edge_seconds: of the room alone, before the first passage and again after the last.
        sample_rate: in Hz.
        band: lowest and highest frequency that are let through, in Hz; None lets all through.
    """

    passages: tuple[Passage, ...] = ()
    noise_db: float = -70.0
    edge_seconds: float = 0.3
    sample_rate: int = 16_000
    band: tuple[float, float] | None = None


PLAIN = Passage("The train to the coast leaves at seven.")
LIVELY = Passage("Is there a letter on the kitchen table?", "en-us+Andrea", 85, 160, speed=205, peak_db=-6.0)
SOFT = Passage("The lamp stands beside the window.", "en-us+steph", 20, 40, speed=118, peak_db=-26.0, tilt=-0.7)
PRESSED = Passage(
    "Two of the boxes are still standing in the hall.", "en-gb", 65, 130, speed=190, peak_db=-1.0, tilt=0.6, drive=4.0
)
BUS = "The last bus leaves the square at ten, from the second stop, in front of the town hall."
EVENING = "In the evening the shops close, and the road is quiet."
BRIDGE = "Is the bridge still closed on Monday, and does the bus go round by the river instead?"
CHANGING = (
    Passage(BUS, "en-us+f2", 65, 130, speed=185, peak_db=-6.0, tilt=0.6, drive=4.0),
    Passage(EVENING, "en-us+f2", 20, 40, speed=105, peak_db=-28.0, tilt=-0.7),
    Passage(BRIDGE, "en-us+f2", 85, 160, speed=205, peak_db=-10.0),
)
CLIPS = {
    "plain.flac": Clip((PLAIN,)),
    "high-fast-lively.flac": Clip((LIVELY,)),
    "slow-low-soft.flac": Clip((SOFT,), noise_db=-76.0),
    "loud-pressed-fast.flac": Clip((PRESSED,)),
    "changing.flac": Clip(CHANGING, noise_db=-76.0),
    "in-noise.flac": Clip((PLAIN,), noise_db=-30.0),
    "telephone.flac": Clip((PLAIN,), noise_db=-60.0, sample_rate=8_000, band=(300.0, 3_400.0)),
    "empty-room.flac": Clip(edge_seconds=1.25),
}


def make_clip(clip: Clip) -> np.ndarray:
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
        made = {file: make_clip(clip) for file, clip in CLIPS.items()}
    except FileNotFoundError:
        print(f"{PROGRAM} is not installed (on Debian: apt-get install {PROGRAM})", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"{PROGRAM} failed: {error.stderr.strip()}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for file, samples in made.items():
        rate = CLIPS[file].sample_rate
        soundfile.write(folder / file, samples, rate, subtype="PCM_16", compression_level=1.0)
        print(f"{folder / file}: {len(samples) / rate:.1f} s")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.example_clips", doc=__doc__)
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="folder that is written (default: app/examples)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
