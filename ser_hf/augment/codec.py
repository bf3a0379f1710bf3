"""What lossy coding leaves of a voice: a telephone line, a mobile call, a voice message, a small MP3.

Each coder is the real one, through the FFmpeg that PyAV carries, from memory to memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import soxr

from ser_hf.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Codec:
    """How one coder is used.

    Attributes:
        encoder, decoder: FFmpeg's names.
        sample_rate: that it works at, in Hz.
        bit_rates: bits per second that it supports; the first is the default.
        sample_format: of what the encoder takes: "s16" is 16-bit integers, the others are floats.
        options: FFmpeg's, of the encoder.
        delay: samples at ``sample_rate`` that decoder and encoder together put before the voice without saying so.
    """

    encoder: str
    decoder: str
    sample_rate: int
    bit_rates: tuple[int, ...]
    sample_format: str = "s16"
    options: dict[str, str] = field(default_factory=dict)
    delay: int = 0


# The quickest settings of LAME and libopus: at such rates they sound much like the slow ones, at a third of the time.
CODECS = {
    "mu-law": Codec("pcm_mulaw", "pcm_mulaw", 8_000, (64_000,)),
    "amr": Codec("libopencore_amrnb", "amrnb", 8_000, (12_200, 7_400, 4_750), delay=40),
    "opus": Codec("libopus", "opus", 16_000, (16_000, 12_000, 8_000), "flt", {"compression_level": "0"}),
    "mp3": Codec("libmp3lame", "mp3float", 16_000, (32_000, 24_000, 16_000), "fltp", {"compression_level": "7"}),
}


def apply_codec(samples: np.ndarray, codec: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode a clip and decode it again; length and place of the voice stay, its level to about 4 dB.

    Args:
        samples: beyond [-1, 1] they are clipped.
        codec: "mu-law" (G.711, telephone lines), "amr" (narrow band, mobile calls), "opus" (voice messages) or "mp3".
        bit_rate: bits per second; default: the highest of ``CODECS[codec].bit_rates``.
    """
    if not samples.size:
        return samples
    chosen, clipped = CODECS[codec], np.clip(samples, -1.0, 1.0)
    resampled = soxr.resample(clipped, SAMPLE_RATE, chosen.sample_rate)
    coded = _encode_and_decode(resampled, chosen, bit_rate or chosen.bit_rates[0])
    return np.clip(coded[: samples.size], -1.0, 1.0, dtype=np.float32)


def _encode_and_decode(samples: np.ndarray, codec: Codec, bit_rate: int) -> np.ndarray:
    """Samples at the codec's rate to what comes out of it, without its delay, at 16 kHz."""
    import av  # 0.1 s, and only for these

    encoder = av.CodecContext.create(codec.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = codec.sample_rate, "mono", codec.sample_format
    encoder.bit_rate, encoder.options = bit_rate, codec.options
    encoder.open()
    decoder = av.CodecContext.create(codec.decoder, "r")
    decoder.sample_rate, decoder.layout, decoder.extradata = codec.sample_rate, "mono", encoder.extradata
    if codec.sample_format == "s16":
        samples = np.round(np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)
    step, packets = encoder.frame_size or samples.size, []
    for start in range(0, samples.size, step):
        part = np.ascontiguousarray(samples[None, start : start + step])
        frame = av.AudioFrame.from_ndarray(part, format=codec.sample_format, layout="mono")
        frame.sample_rate, frame.pts = codec.sample_rate, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    if decoded.dtype == np.int16:
        decoded = decoded / np.float32(32768)
    return soxr.resample(decoded[codec.delay :].astype(np.float32), frames[0].sample_rate, SAMPLE_RATE)
