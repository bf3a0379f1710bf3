"""The page's example clips, and how each is made by `app.examples.make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ESPEAK_NG_VERSION = "1.51"  # that made the clips in this folder; another gives other samples


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
class Example:
    """One file: passages one after another, in a room that is never quite silent.

    Attributes:
        file: its name in this folder.
        title: how it was made, in the few words of a button.
        passages: the spoken passages; none leaves background noise alone.
        noise_db: level (RMS) of the room's noise; full scale is 0 dB.
        edge_seconds: of the room alone, before the first passage and again after the last.
        sample_rate: in Hz.
        band: lowest and highest frequency that are let through, in Hz; None lets all through.
    """

    file: str
    title: str
    passages: tuple[Passage, ...] = ()
    noise_db: float = -70.0
    edge_seconds: float = 0.3
    sample_rate: int = 16_000
    band: tuple[float, float] | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return FOLDER / self.file


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
EXAMPLES = (
    Example("plain.flac", "Plain voice", (PLAIN,)),
    Example("high-fast-lively.flac", "High, fast, lively", (LIVELY,)),
    Example("slow-low-soft.flac", "Slow, low, soft", (SOFT,), noise_db=-76.0),
    Example("loud-pressed-fast.flac", "Loud, pressed, fast", (PRESSED,)),
    Example("changing.flac", "Long, with changes", CHANGING, noise_db=-76.0),
    Example("in-noise.flac", "In loud noise", (PLAIN,), noise_db=-30.0),
    Example("telephone.flac", "Over the telephone", (PLAIN,), noise_db=-60.0, sample_rate=8_000, band=(300.0, 3_400.0)),
    Example("empty-room.flac", "An empty room", edge_seconds=1.25),
)


def examples() -> list[Example]:
    """Every example clip, in the order of the page."""
    return list(EXAMPLES)
