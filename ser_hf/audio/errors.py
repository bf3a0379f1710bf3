"""Why a recording cannot be used."""

from ser_hf.errors import SerHfError


class AudioError(SerHfError):
    """A recording that cannot be used; the message names it and says why."""


class UnreadableAudioError(AudioError):
    """Not there, not a file, or nothing that a decoder understands."""


class EmptyAudioError(AudioError):
    """No sample at all."""


class InvalidSamplesError(AudioError):
    """Samples that are not sound: NaN, infinite, complex, text, a wrong shape."""


class SilenceError(AudioError):
    """Nothing is louder than `ser_hf.audio.SILENCE_PEAK`."""


class TooShortError(AudioError):
    """Less than `ser_hf.audio.MIN_SECONDS` of sound."""


class TooLongError(AudioError):
    """More than the caller allows."""
