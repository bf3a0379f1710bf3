"""Waveform augmentation for training clips; each change is a plain function of samples.

Every function takes a float32 mono waveform at 16 kHz and returns one, keeps no state, and draws what is random from
the generator that it is given: the same generator state gives the same clip. None belongs on a clip that is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Real

import numpy as np

from ser_hf.augment.codec import CODECS, apply_codec
from ser_hf.augment.level import apply_gain, crop_speech, set_level, vary_silence
from ser_hf.augment.noise import add_noise
from ser_hf.augment.pitch import change_speed, shift_pitch
from ser_hf.augment.room import add_room, limit_band, tilt_spectrum

# What each change is drawn from, uniformly.
SNR_DB = (10.0, 40.0)
ROOM_RT60 = (0.2, 0.8)  # seconds
ROOM_DRR_DB = (0.0, 15.0)  # direct-to-reverberant ratio
BAND_LOW_HZ, BAND_HIGH_HZ = (50.0, 400.0), (3000.0, 7000.0)  # edges
CROP_SECONDS = (0.8, 2.2)
LEVEL_CENTRE_DB = -28.0  # below full scale: halfway between a shy voice on a phone and one that is nearly clipped


def setting(default: float, largest: float, text: str) -> float:
    """A field of `Augmentation`: `metadata` holds its help text and its largest value."""
    return field(default=default, metadata={"help": text, "largest": largest})


@dataclass(frozen=True)
class Augmentation:
    """One random change of a training clip, drawn again each time it is called.

    What is 0 is left out and draws nothing. The order is that of the world: the voice (silence, speed, pitch), the room
    and its noise, the recorder's tone and level, and the way that the recording was sent. The `metadata` of each field
    holds its help text.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    speed: float = setting(0.1, 0.9, "largest change of speed, as a share of 1")
    gain_db: float = setting(6.0, 60.0, "largest change of level, dB")
    level_range_db: float = setting(0.0, -2 * LEVEL_CENTRE_DB, "range of the level of the voice around -28 dBFS, dB")
    noise_probability: float = setting(0.3, 1.0, "share of clips with added noise, 10 to 40 dB SNR")
    silence_probability: float = setting(0.5, 1.0, "share of clips that lose silence at their ends")
    pitch_semitones: float = setting(0.0, 12.0, "largest shift of pitch, semitones")
    room_probability: float = setting(0.0, 1.0, "share of clips with simulated reverberation")
    tilt_db: float = setting(0.0, 12.0, "largest tilt of the spectrum, dB per octave")
    band_probability: float = setting(0.0, 1.0, "share of clips limited to a telephone's band")
    codec_probability: float = setting(0.0, 1.0, "share of clips that pass a lossy codec")
    crop_probability: float = setting(0.0, 1.0, "share of clips cropped to 0.8 to 2.2 s of their speech")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, largest = getattr(self, one.name), one.metadata["largest"]
            if not (isinstance(value, Real) and 0 <= float(value) <= largest):
                raise ValueError(f"{one.name} must be a number between 0 and {largest:g}, not {value!r}")

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed copy of a float32 mono clip at 16 kHz; the same ``rng`` state gives the same clip."""
        if self.silence_probability and rng.random() < self.silence_probability:
            samples = vary_silence(samples, rng)
        if self.speed:
            samples = change_speed(samples, rng.uniform(1 - self.speed, 1 + self.speed))
        if self.pitch_semitones:
            samples = shift_pitch(samples, rng.uniform(-self.pitch_semitones, self.pitch_semitones))
        if self.room_probability and rng.random() < self.room_probability:
            samples = add_room(samples, rng.uniform(*ROOM_RT60), rng.uniform(*ROOM_DRR_DB), rng)
        if self.noise_probability and rng.random() < self.noise_probability:
            samples = add_noise(samples, rng.uniform(*SNR_DB), rng, slope=rng.uniform(0, 2))
        if self.tilt_db:
            samples = tilt_spectrum(samples, rng.uniform(-self.tilt_db, self.tilt_db))
        if self.level_range_db:
            samples = set_level(samples, LEVEL_CENTRE_DB + self.level_range_db * rng.uniform(-0.5, 0.5))
        if self.gain_db:
            samples = apply_gain(samples, rng.uniform(-self.gain_db, self.gain_db))
        if self.band_probability and rng.random() < self.band_probability:
            samples = limit_band(samples, rng.uniform(*BAND_LOW_HZ), rng.uniform(*BAND_HIGH_HZ))
        if self.codec_probability and rng.random() < self.codec_probability:
            codec = list(CODECS)[rng.integers(len(CODECS))]
            samples = apply_codec(samples, codec, int(rng.choice(CODECS[codec].bit_rates)))
        if self.crop_probability and rng.random() < self.crop_probability:
            samples = crop_speech(samples, rng.uniform(*CROP_SECONDS), rng)
        return samples
