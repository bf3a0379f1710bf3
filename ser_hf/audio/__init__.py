"""Read, decode, check, mix down, resample, trim and window recordings.

Everything that enters a model comes through `read_audio`: float32, one channel, one rate, no NaN, within [-1, 1].
"""

from ser_hf.audio.decoding import check_path
from ser_hf.audio.errors import (
    AudioError,
    EmptyAudioError,
    InvalidSamplesError,
    SilenceError,
    TooLongError,
    TooShortError,
    UnreadableAudioError,
)
from ser_hf.audio.reading import READING_VERSION, SAMPLE_RATE, Recording, channel_count, load_audio, read_audio
from ser_hf.audio.speech import (
    MIN_SECONDS,
    SILENCE_PEAK,
    check_speech,
    frame_power,
    peak_level,
    sliding_windows,
    speech_span,
    speech_windows,
    trim_silence,
    utterances,
)
