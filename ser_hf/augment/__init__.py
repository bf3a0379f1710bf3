"""Waveform augmentation for training clips; each change is a plain function of samples.

Every function takes a float32 mono waveform at 16 kHz and gives one, keeps no state, and draws what is random from the
generator that it is given: the same generator state gives the same clip. None belongs on a clip that is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment.codec import CODECS, apply_codec
from ser_hf.augment.join import join_utterances
from ser_hf.augment.level import apply_gain, crop_speech, match_level, set_level, shift_time, vary_silence
from ser_hf.augment.noise import add_babble, add_noise
from ser_hf.augment.pitch import LARGEST_SHIFT, LONGEST_STRETCH, change_speed, shift_pitch, stretch_time
from ser_hf.augment.room import LARGEST_TILT, RT60_RANGE, add_room, limit_band, room_response, tilt_spectrum

__all__ = [
    "CODECS",
    "Augmentation",
    "add_babble",
    "add_noise",
    "add_room",
    "apply_codec",
    "apply_gain",
    "change_speed",
    "crop_speech",
    "join_utterances",
    "limit_band",
    "match_level",
    "room_response",
    "set_level",
    "shift_pitch",
    "shift_time",
    "stretch_time",
    "tilt_spectrum",
    "vary_silence",
]

# Range of each range that is drawn from.
BOUNDS = {
    "snr_db": (-60, 120),
    "room_rt60": RT60_RANGE,
    "room_drr_db": (-60, 120),
    "band_low_hz": (1, SAMPLE_RATE / 2 - 1),
    "band_high_hz": (1, SAMPLE_RATE / 2 - 1),
    "crop_seconds": (0.1, 60),
}
LEVEL_CENTRE_DB = -28.0  # below full scale: halfway between a shy voice on a phone and one that is nearly clipped


@dataclass(frozen=True)
class Augmentation:
    """One random change of a training clip, drawn anew each time it is called.

    What is 0 is left out and draws nothing. The order is that of the world: the voice (silence, speed, pitch, tempo,
    place), the room, its noise, the recorder's tone and level, and the way that the recording was sent.

    Attributes:
        speed: largest change of speed, as a share of 1 (0.1: from 0.9 to 1.1 times).
        gain_db: largest change of level in dB, either way.
        level_range_db: width in dB of the range, around 28 dB below full scale, that the level of the voice is drawn
            from, however loud it was recorded (`set_level`): a model then learns nothing of loudness itself.
        noise_probability: share of clips that get noise.
        snr_db: range of the signal-to-noise ratio of that noise.
        silence_probability: share of clips whose surrounding silence is cut by a random amount.
        pitch_semitones: largest change of pitch alone, in semitones, either way.
        stretch: largest change of length at the same pitch, as a share of 1 (0.1: 0.9 to 1.1 times as long).
        shift: largest shift in seconds, either way; what leaves at one end comes in at the other.
        room_probability: share of clips that are put into a made-up room.
        room_rt60: range of that room's reverberation time in seconds.
        room_drr_db: range of its direct-to-reverberant ratio in dB.
        tilt_db: largest tilt of the spectrum in dB an octave, either way.
        band_probability: share of clips that lose what lies outside of a band of frequencies.
        band_low_hz, band_high_hz: ranges of the edges of that band.
        codec_probability: share of clips that are coded and decoded again.
        codecs: those that are drawn from, at any of their bit rates.
        crop_probability: share of clips that are cropped to a stretch of their speech, as short as a word.
        crop_seconds: range of the length of that stretch, in seconds.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    speed: float = 0.1
    gain_db: float = 6.0
    level_range_db: float = 0.0
    noise_probability: float = 0.3
    snr_db: tuple[float, float] = (10.0, 40.0)
    silence_probability: float = 0.5
    pitch_semitones: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    room_probability: float = 0.0
    room_rt60: tuple[float, float] = (0.2, 0.8)
    room_drr_db: tuple[float, float] = (0.0, 15.0)
    tilt_db: float = 0.0
    band_probability: float = 0.0
    band_low_hz: tuple[float, float] = (50.0, 400.0)
    band_high_hz: tuple[float, float] = (3000.0, 7000.0)
    codec_probability: float = 0.0
    codecs: tuple[str, ...] = tuple(CODECS)
    crop_probability: float = 0.0
    crop_seconds: tuple[float, float] = (0.8, 2.2)

    def __post_init__(self):
        probabilities = [name for name in self.__dataclass_fields__ if name.endswith("_probability")]
        # Largest value of each; 0 leaves a change out. A speed or length of 0 would leave no clip.
        largest = dict.fromkeys(probabilities, 1.0) | {
            "speed": 0.9,
            "gain_db": 60.0,
            "level_range_db": -2 * LEVEL_CENTRE_DB,
            "pitch_semitones": LARGEST_SHIFT,
            "stretch": 1 - 1 / LONGEST_STRETCH,
            "shift": 60.0,
            "tilt_db": LARGEST_TILT,
        }
        for name, limit in largest.items():
            value = getattr(self, name)
            if not (isinstance(value, Real) and 0 <= float(value) <= limit):
                raise ValueError(f"{name} must be a number between 0 and {limit:g}, not {value!r}")
        for name, (lowest, highest) in BOUNDS.items():
            value = getattr(self, name)
            if not (
                isinstance(value, (tuple, list))
                and len(value) == 2
                and all(isinstance(bound, Real) for bound in value)
                and lowest <= value[0] <= value[1] <= highest
            ):
                raise ValueError(f"{name} must be two rising numbers within {lowest:g} and {highest:g}, not {value!r}")
        if self.band_low_hz[1] >= self.band_high_hz[0]:
            raise ValueError(f"band_low_hz must end below band_high_hz, not {self.band_low_hz} and {self.band_high_hz}")
        if not (isinstance(self.codecs, (tuple, list)) and self.codecs and set(self.codecs) <= set(CODECS)):
            raise ValueError(f"codecs must be a list of some of {', '.join(CODECS)}, not {self.codecs!r}")

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed copy of a float32 mono clip at 16 kHz; the same ``rng`` state gives the same clip."""
        if self.silence_probability and rng.random() < self.silence_probability:
            samples = vary_silence(samples, rng)
        if self.speed:
            samples = change_speed(samples, rng.uniform(1 - self.speed, 1 + self.speed))
        if self.pitch_semitones:
            samples = shift_pitch(samples, rng.uniform(-self.pitch_semitones, self.pitch_semitones))
        if self.stretch:
            samples = stretch_time(samples, rng.uniform(1 - self.stretch, 1 + self.stretch))
        if self.shift:
            samples = shift_time(samples, rng.uniform(-self.shift, self.shift))
        if self.room_probability and rng.random() < self.room_probability:
            samples = add_room(samples, rng.uniform(*self.room_rt60), rng.uniform(*self.room_drr_db), rng)
        if self.noise_probability and rng.random() < self.noise_probability:
            samples = add_noise(samples, rng.uniform(*self.snr_db), rng, slope=rng.uniform(0, 2))
        if self.tilt_db:
            samples = tilt_spectrum(samples, rng.uniform(-self.tilt_db, self.tilt_db))
        if self.level_range_db:
            samples = set_level(samples, LEVEL_CENTRE_DB + self.level_range_db * rng.uniform(-0.5, 0.5))
        if self.gain_db:
            samples = apply_gain(samples, rng.uniform(-self.gain_db, self.gain_db))
        if self.band_probability and rng.random() < self.band_probability:
            samples = limit_band(samples, rng.uniform(*self.band_low_hz), rng.uniform(*self.band_high_hz))
        if self.codec_probability and rng.random() < self.codec_probability:
            codec = self.codecs[rng.integers(len(self.codecs))]
            samples = apply_codec(samples, codec, int(rng.choice(CODECS[codec].bit_rates)))
        if self.crop_probability and rng.random() < self.crop_probability:
            samples = crop_speech(samples, rng.uniform(*self.crop_seconds), rng)
        return samples
