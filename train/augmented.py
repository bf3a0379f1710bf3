"""Let people hear augmentation: one wav of each kind, draws of a recipe's whole, and a page to listen to them.

Examples:

    python -m train.augmented --output runs/heard
    python -m train.augmented clip.wav --output runs/heard --recipe train/recipes/whisper.yaml --draws 12

Open index.html in the folder. Exit status: 0, or 2 for what the message says.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile
from scipy.signal import stft

from ser_hf.audio import SAMPLE_RATE, AudioError, check_speech, read_audio
from ser_hf.augment import (
    CODECS,
    Augmentation,
    add_babble,
    add_noise,
    add_room,
    apply_codec,
    apply_gain,
    change_speed,
    limit_band,
    match_level,
    shift_pitch,
    shift_time,
    stretch_time,
    tilt_spectrum,
    vary_silence,
)
from ser_hf.augment.sounds import SOUNDS, make_sound
from ser_hf.command_line import CommandParser
from train.arguments import read_recipe
from train.common import UsageError

EXAMPLES = Path(__file__).resolve().parent.parent / "app" / "examples"
CLIP = EXAMPLES / "plain.flac"
BABBLE = ("loud-pressed-fast.flac", "high-fast-lively.flac", "slow-low-soft.flac")
MAX_SECONDS = 60.0
NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}
FIELDS = tuple(field.name for field in dataclasses.fields(Augmentation))


@dataclass(frozen=True, eq=False)
class Example:
    """One sound of the page.

    Attributes:
        group: heading that it stands under.
        title: what was done, with its settings.
        file: name of its wav, which says the same.
        samples: float32 mono at 16 kHz.
    """

    group: str
    title: str
    file: str
    samples: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0, or 2 for what the message says)."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.draws < 0 or arguments.seed < 0:
            raise UsageError("--draws and --seed are whole numbers of 0 or more")
        page = write_examples(arguments.clip, arguments.output, arguments.recipe, arguments.draws, arguments.seed)
    except (AudioError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write to --output {arguments.output}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"written: {page}")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m train.augmented", doc=__doc__)
    parser.add_argument(
        "clip",
        nargs="?",
        type=Path,
        default=CLIP,
        metavar="FILE",
        help=f"recording, of at most {MAX_SECONDS:.0f} s (default: app/examples/plain.flac)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new or empty folder for the sounds")
    parser.add_argument(
        "--recipe", type=Path, metavar="F", help="recipe whose augmentation is drawn (default: ser_hf's own)"
    )
    parser.add_argument("--draws", type=int, default=6, help="draws of the whole augmentation")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random")
    return parser


def write_examples(clip: Path, folder: Path, recipe: Path | None = None, draws: int = 6, seed: int = 0) -> Path:
    """Write the wavs of a clip and ``index.html`` into a folder; returns the path of that page.

    Raises:
        AudioError: the clip cannot be used.
        UsageError: the folder holds something, or the recipe names no augmentation or one that cannot be.
    """
    augmentation = read_augmentation(recipe) if recipe else Augmentation()
    recording = read_audio(clip, max_seconds=MAX_SECONDS)
    check_speech(recording)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--output {folder} is there already: name a new folder, or empty that one")
    voices = [read_audio(EXAMPLES / name).samples for name in BABBLE if (EXAMPLES / name) != clip.resolve()]
    examples = single_changes(recording.samples, voices, seed)
    examples += whole_draws(recording.samples, augmentation, draws, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for example in examples:
        soundfile.write(folder / example.file, np.clip(example.samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    page = folder / "index.html"
    page.write_text(listening_page(clip.name, examples, augmentation, recipe), encoding="utf-8")
    return page


def read_augmentation(recipe: Path) -> Augmentation:
    """The augmentation that a recipe's arguments describe; what it does not name has its default.

    Raises:
        UsageError: the recipe cannot be read, names no augmentation, or one that cannot be.
    """
    values: dict[str, Any] = {name: value for name, value in read_recipe(recipe).items() if name in FIELDS}
    if not values:
        raise UsageError(f"{recipe} names no augmentation; it could name {', '.join(FIELDS)}")
    try:
        chosen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Augmentation(**chosen)
    except ValueError as error:
        raise UsageError(f"{recipe}: {error}") from None


def single_changes(samples: np.ndarray, voices: Sequence[np.ndarray], seed: int) -> list[Example]:
    """Each kind of change alone, at settings that can be heard; ``voices`` are what babble is made of."""
    examples = [Example("As recorded", "unchanged", "as-recorded.wav", samples)]

    def add(group: str, title: str, name: str, changed: np.ndarray) -> None:
        examples.append(Example(group, title, f"{name}.wav", changed))

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    for colour, snr_db in (("white", 20), ("white", 10), ("white", 0), ("pink", 10), ("brown", 10)):
        noisy = add_noise(samples, snr_db, rng(), NOISES[colour])
        add("Noise", f"{colour}, SNR {snr_db} dB", f"noise-{colour}-snr{snr_db}dB", noisy)
    add("Noise", "babble of other voices, SNR 10 dB", "noise-babble-snr10dB", add_babble(samples, 10, rng(), voices))
    for factor in (0.9, 1.1):
        add("Speed", f"{factor:g} times, with its pitch", f"speed-x{factor:g}", change_speed(samples, factor))
    for semitones in (-4, -2, 2, 4):
        add("Pitch", f"{semitones:+d} semitones", f"pitch{semitones:+d}semitones", shift_pitch(samples, semitones))
    for factor in (0.8, 1.25):
        add("Stretch", f"{factor:g} times as long", f"stretch-x{factor:g}", stretch_time(samples, factor))
    for gain_db in (-12, 12):
        add("Level", f"{gain_db:+d} dB", f"gain{gain_db:+d}dB", apply_gain(samples, gain_db))
    add("Place", "0.5 s later, around the end", "shift+0.5s", shift_time(samples, 0.5))
    add("Place", "outer silence cut at random", "silence-cut", vary_silence(samples, rng()))
    for rt60, drr_db in ((0.3, 6), (0.8, 0), (1.5, -6)):
        title = f"reverberation {rt60:g} s, direct to reverberant {drr_db:+d} dB"
        add("Room", title, f"room-rt{rt60:g}s-drr{drr_db:+d}dB", add_room(samples, rt60, drr_db, rng()))
    add("Band", "300 to 3400 Hz (telephone)", "band-300-3400Hz", limit_band(samples))
    for tilt in (-4, 4):
        add("Tone", f"{tilt:+d} dB an octave", f"tilt{tilt:+d}dB", tilt_spectrum(samples, tilt))
    for codec, settings in CODECS.items():
        for rate in sorted({min(settings.bit_rates), max(settings.bit_rates)}, reverse=True):
            kilobits = f"{rate / 1000:g}"
            coded = apply_codec(samples, codec, rate)
            add("Codec", f"{codec}, {kilobits} kbit/s", f"codec-{codec}-{kilobits}kbit", coded)
    for kind in SOUNDS:
        heard = match_level(make_sound(samples.size, rng(), kind), samples)
        add("No speech", f"{kind}, as loud as the clip", f"no-speech-{kind}", heard)
    return examples


def whole_draws(samples: np.ndarray, augmentation: Augmentation, draws: int, seed: int) -> list[Example]:
    """Several draws of a whole augmentation, as epochs of training would hear them."""
    return [
        Example("Draws", f"draw {draw}", f"draw-{draw}.wav", augmentation(samples, np.random.default_rng((seed, draw))))
        for draw in range(1, draws + 1)
    ]


def listening_page(name: str, examples: Sequence[Example], augmentation: Augmentation, recipe: Path | None) -> str:
    """The page: every sound with its spectrogram, all to one scale of time. It needs nothing but the wavs beside it."""
    longest = max(example.samples.size for example in examples)
    loudest = band_levels(examples[0].samples).max()
    parts = []
    for group in dict.fromkeys(example.group for example in examples):
        rows = "\n".join(_row(example, longest, loudest) for example in examples if example.group == group)
        about = f"<p>{escape(describe(augmentation, recipe))}</p>\n" if group == "Draws" else ""
        parts.append(f"<section>\n<h2>{group}</h2>\n{about}{rows}\n</section>")
    return PAGE.format(name=escape(name), sections="\n".join(parts))


def describe(augmentation: Augmentation, recipe: Path | None) -> str:
    """What is drawn from, in one sentence: what is 0 is left out, and so are the ranges of what never happens."""
    values = dataclasses.asdict(augmentation)
    needs = {"snr_db": "noise_probability", "codecs": "codec_probability"}
    needs |= {name: f"{name.split('_')[0]}_probability" for name in values if name.startswith(("room_", "band_"))}
    told = [f"{k} {_plain(v)}" for k, v in values.items() if v and values[needs.get(k, k)]]
    whose = f"the recipe {recipe.name}" if recipe else "ser_hf's defaults"
    return f"All changes at once, drawn by {whose}: {', '.join(told) or 'none'}."


def _plain(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:g}"
    return " or ".join(value) if isinstance(value[0], str) else " to ".join(f"{bound:g}" for bound in value)


def _row(example: Example, longest: int, loudest: float) -> str:
    width = 100 * example.samples.size / longest
    title, source = escape(example.title), escape(quote(example.file), quote=True)
    picture = spectrogram(example.samples, loudest)
    return (
        f'<figure><figcaption>{title}<a href="{source}">{escape(example.file)}</a></figcaption>\n'
        f'<audio controls preload="none" src="{source}" aria-label="{escape(example.group)}: {title}"></audio>\n'
        f'<div class="picture"><img style="width:{width:.1f}%" alt="" src="{picture}"></div>'
        "</figure>"
    )


def spectrogram(samples: np.ndarray, loudest: float) -> str:
    """A picture of `band_levels` as a data address, in 16 steps over the 60 dB below ``loudest``."""
    from matplotlib.image import imsave  # a second, and only to draw

    steps = np.round(np.clip((band_levels(samples) - loudest + 60) / 60, 0, 1) * 15) / 15
    picture = io.BytesIO()
    imsave(picture, steps, cmap="magma", vmin=0, vmax=1, origin="lower", format="png")
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"


def band_levels(samples: np.ndarray) -> np.ndarray:
    """Level in dB of 64 bands of 125 Hz every 20 ms, shape (64, frames)."""
    power = np.abs(stft(samples, SAMPLE_RATE, nperseg=640, noverlap=320)[2]) ** 2
    bands = power[:320].reshape(64, 5, -1).mean(axis=1)
    return 10 * np.log10(np.maximum(bands, 1e-12))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Augmentation of {name}</title>
<style>
:root {{ color-scheme: light dark; --back: #fbfbfa; --text: #1d1d1f; --quiet: #5c5c63; --line: #dcdce0; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --back: #17171a; --text: #ececf0; --quiet: #a3a3ad; --line: #34343a; }}
}}
body {{ background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 62rem; padding: 1.5rem 1rem 4rem; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .3rem; }}
h2 {{ font-size: 1.05rem; margin: 1.8rem 0 .2rem; }}
p {{ color: var(--quiet); margin: .2rem 0 .6rem; max-width: 48rem; }}
figure {{ align-items: center; border-top: 1px solid var(--line); display: grid; gap: .3rem 1rem;
  grid-template-columns: 17rem 18rem 1fr; margin: 0; padding: .5rem 0; }}
figcaption a {{ color: var(--quiet); display: block; font-size: .8rem; overflow-wrap: anywhere; }}
audio {{ height: 2.25rem; width: 100%; }}
img {{ border-radius: 3px; display: block; height: 3.5rem; }}
@media (max-width: 50rem) {{ figure {{ grid-template-columns: 1fr; }} }}
</style>
</head>
<body>
<h1>Augmentation of {name}</h1>
<p>Each kind of change alone, then all of them as training hears them. The pictures show 0 to 8 kHz from bottom to top,
time from left to right, all to the same scale of time.</p>
{sections}
</body>
</html>
"""

if __name__ == "__main__":
    sys.exit(main())
