"""The table: every hostile or odd input, and what the program must say of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ser_hf.audio import SAMPLE_RATE
from tests.hostile import files
from tests.hostile.files import Make, coded, named, patched, samples, stored, voice
from tests.synthetic import as_file, tone

LABEL = "a label"
UNREADABLE = "not an audio file that can be read|cannot be decoded|in a format that cannot be decoded"
NO_FILE = "not a file"


@dataclass(frozen=True)
class Input:
    """One hostile or odd input.

    Attributes:
        name: what it is.
        make: makes it in a folder of its own and returns the path that the program is given.
        expected: `LABEL`, or a pattern of the words in which it is refused.
        warning: a pattern that one of the warnings of an answer must match; empty where there is nothing to tell.
        page: what the page is expected to say, where its limits make that another.
        uploads: whether a client can send it; else the client names it by its path, and must be refused.
        as_anybody: whether it is read as a user without rights.
    """

    name: str
    make: Make
    expected: str = LABEL
    warning: str = ""
    page: str = ""
    uploads: bool = True
    as_anybody: bool = False


def table() -> list[Input]:
    """Every input; each name is there once."""
    return [
        *containers(),
        *rates_and_channels(),
        *cut_off(),
        *no_sound(),
        *lying_headers(),
        *bombs(),
        *odd_samples(),
        *odd_names(),
        *odd_places(),
    ]


def containers() -> Iterable[Input]:
    """Every common container and codec."""
    by_libsndfile = [
        *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
        *(("WAV", subtype) for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
        *(("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "DOUBLE"), ("AIFF", "PCM_S8"), ("AIFF", "PCM_24")),
        *(("AU", "ULAW"), ("AU", "DOUBLE"), ("CAF", "ALAC_16"), ("CAF", "FLOAT"), ("FLAC", "PCM_S8")),
        *(("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("VOC", "PCM_16")),
        *(("NIST", "PCM_16"), ("IRCAM", "FLOAT"), ("SVX", "PCM_16"), ("MAT5", "DOUBLE"), ("SDS", "PCM_16")),
    ]
    for container, subtype in by_libsndfile:
        content = stored(container, subtype)
        yield Input(f"{container} {subtype}", named(f"voice.{container.lower()}", content))
    by_ffmpeg = [
        *(("m4a", "ipod", "aac", 44_100), ("alac.m4a", "ipod", "alac", 44_100), ("mp4", "mp4", "aac", 48_000)),
        *(("mov", "mov", "pcm_s16le", 48_000), ("3gp", "3gp", "libopencore_amrnb", 8_000)),
        *(("amr", "amr", "libopencore_amrnb", 8_000), ("webm", "webm", "libopus", 48_000)),
        *(("mka", "matroska", "aac", 16_000), ("mkv", "matroska", "pcm_f64le", 16_000)),
        *(
            ("avi", "avi", "libmp3lame", 44_100),
            ("adpcm.avi", "avi", "adpcm_ms", 22_050),
            ("flv", "flv", "aac", 44_100),
        ),
        *(("ts", "mpegts", "aac", 48_000), ("mpg", "mpeg", "mp2", 48_000), ("wma", "asf", "wmav2", 22_050)),
        *(("v1.wma", "asf", "wmav1", 22_050), ("aac", "adts", "aac", 16_000), ("ac3", "ac3", "ac3", 48_000)),
        *(("wv", "wv", "wavpack", 44_100), ("tta", "tta", "tta", 44_100), ("opus", "ogg", "libopus", 48_000)),
        *(("oga", "ogg", "libopus", 16_000), ("s32.mkv", "matroska", "pcm_s32le", 16_000)),
        *(
            ("mp3.wav", "wav", "libmp3lame", 16_000),
            ("eac3.mkv", "matroska", "eac3", 48_000),
            ("aifc", "aiff", "pcm_alaw", 8_000),
        ),
    ]
    for suffix, container, codec, rate in by_ffmpeg:
        yield Input(f"{codec} in .{suffix}", named(f"voice.{suffix}", coded(container, codec, rate)))
    live = coded("webm", "libopus", 48_000, live="1")
    yield Input("webm without a length, as browsers record it", named("live.webm", live))
    yield Input("film with sound", named("film.mp4", files.film()))
    yield Input("picture that comes late", named("late.flv", files.late_picture), warning="damaged or cut off")
    yield Input("film without sound", named("film.mp4", files.film(sound=False)), "no sound track")


def rates_and_channels() -> Iterable[Input]:
    """4 to 192 kHz, 1 to 8 channels and more."""
    for rate in (4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000):
        warning = f"recorded at {rate} Hz" if rate < SAMPLE_RATE else ""
        yield Input(f"wav at {rate} Hz", named("voice.wav", stored("WAV", rate=rate)), warning=warning)
    for channels in (*range(1, 9), 64, 1024):
        page = "has 98 MB; at most 25 MB|exceeds the maximum file size" if channels == 1024 else ""
        yield Input(f"wav of {channels} channels", named("voice.wav", stored("WAV", channels=channels)), page=page)
    for channels in (1, 2, 6):
        content = coded("ipod", "aac", 48_000, channels)
        yield Input(f"m4a of {channels} channels", named("voice.m4a", content))


WHOLE = {
    "wav": stored("WAV"),
    "flac": stored("FLAC"),
    "mp3": stored("MP3"),
    "ogg": stored("OGG"),
    "aac": coded("adts", "aac"),
    "m4a": coded("ipod", "aac"),
    "fragmented.m4a": coded("ipod", "aac", movflags="frag_keyframe+empty_moov", frag_duration="500000"),
    "webm": coded("webm", "libopus"),
    "wma": coded("asf", "wmav2", 22_050),
}
# At how many tenths of its length there is enough to answer, and what is said below.
ANSWERED_FROM = {"wav": 1, "flac": 3, "mp3": 2, "ogg": 6, "aac": 1, "fragmented.m4a": 2, "webm": 2, "wma": 2}
TOLD = {"wav": "cut off", "flac": "cut off", "mp3": "cut off", "webm": "cut off"}
HEADER_BYTES = {"wav": 44, "flac": 42, "mp3": 10, "ogg": 58, "aac": 7, "m4a": 36, "webm": 40, "wma": 30}


def cut_off() -> Iterable[Input]:
    """Cut off at every tenth of the length, or right after the header."""
    for suffix, content in WHOLE.items():
        for tenth in range(1, 10):
            is_enough = tenth >= ANSWERED_FROM.get(suffix, 10)  # an m4a says at its end where its sound is
            yield Input(
                f"{suffix} cut off at {tenth} tenths",
                named(f"cut.{suffix}", files.part(content, tenth / 10)),
                LABEL if is_enough else f"{UNREADABLE}|s of sound; at least",
                TOLD.get(suffix, "") if is_enough else "",
            )
    for suffix, length in HEADER_BYTES.items():
        expected = f"{UNREADABLE}|no sound"
        yield Input(
            f"{suffix}, the header alone", named(f"head.{suffix}", files.start(WHOLE[suffix], length)), expected
        )


def no_sound() -> Iterable[Input]:
    """Files that are no recordings, whatever their names say."""
    noise = np.random.default_rng(0).bytes(50_000)
    yield Input("no bytes", named("empty.wav", b""), "the file is empty")
    for suffix in ("wav", "mp3", "m4a", "aac"):
        yield Input(f"random bytes as .{suffix}", named(f"random.{suffix}", noise), UNREADABLE)
    for start in (
        b"RIFF\xff\xff\xff\xffWAVE",
        b"fLaC",
        b"OggS\0\x02",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"caff\0\x01\0\0",
    ):
        yield Input(f"random bytes after {start!r}", named("random.wav", start + noise), UNREADABLE)
    contents = {
        "text": b"This is not a recording.\n" * 50,
        "web page": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "zip": files.packed(b"no sound"),
        "pickle": b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0" + bytes(100),
        "program": b"\x7fELF\x02\x01\x01" + bytes(1000),
        "zeros": bytes(50_000),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "playlist of FFmpeg": b"ffconcat version 1.0\nfile http://127.0.0.1:9/voice.wav\n",
        "session description": b"v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nvoice\n",
    }
    for what, content in contents.items():
        yield Input(f"{what} named .wav", named("other.wav", content), UNREADABLE)


def lying_headers() -> Iterable[Input]:
    """Headers that claim what is not there."""
    wav, cut = stored("WAV"), "cut off"
    hours = 10 * 3600 * SAMPLE_RATE
    yield Input(
        "flac that claims ten hours", named("a.flac", files.claiming(hours)), "36000 s long", page="36000 s long"
    )
    yield Input("flac that claims 36 bits of samples", named("a.flac", files.claiming(2**36 - 1)), "s long; at most")
    yield Input("flac of unknown length", named("a.flac", files.claiming(0)))
    yield Input("wav that claims 2 GB", named("a.wav", patched(wav, 40, b"\0\0\0\x7f")), warning=cut)
    yield Input("wav of unknown length", named("a.wav", patched(wav, 40, b"\xff\xff\xff\xff")))
    yield Input("wav of no length", named("a.wav", patched(wav, 40, bytes(4))))
    yield Input("wav of 0 channels", named("a.wav", patched(wav, 22, bytes(2))), UNREADABLE)
    yield Input("wav of 65535 channels", named("a.wav", patched(wav, 22, b"\xff\xff")), UNREADABLE)
    yield Input("wav at 0 Hz", named("a.wav", patched(wav, 24, bytes(4))), UNREADABLE)
    yield Input("wav at 1 Hz", named("a.wav", patched(wav, 24, b"\1\0\0\0")), "48000 s long")
    yield Input("wav at 4294967295 Hz", named("a.wav", patched(wav, 24, b"\xff" * 4)), UNREADABLE)
    yield Input("wav of 0 bits", named("a.wav", patched(wav, 34, bytes(2))), UNREADABLE)
    yield Input("wav of 65535 bits", named("a.wav", patched(wav, 34, b"\xff\xff")), UNREADABLE)
    yield Input("wav of a codec that nobody knows", named("a.wav", patched(wav, 20, b"\x99\x99")), UNREADABLE)
    for channels in (0, 2**31 - 1, 2**31, 2**32 - 1):
        yield Input(f"au of {channels} channels", named("a.au", files.au(channels)), UNREADABLE)
        yield Input(f"caf of {channels} channels", named("a.caf", files.caf(channels)), UNREADABLE)
    yield Input("au at 2147483648 Hz", named("a.au", files.au(1, 2**31)), UNREADABLE)
    yield Input("caf at an infinite rate", named("a.caf", files.caf(1, np.inf)), "sample rate of 2147483647 Hz")
    yield Input("caf at a rate that is no number", named("a.caf", files.caf(1, np.nan)), UNREADABLE)


def bombs() -> Iterable[Input]:
    """Little that becomes much."""
    yield Input("3 hours", named("3h.flac", files.long_flac(3 * 3600, 8_000)), "10800 s long")
    stream = files.long_flac(3 * 3600, 8_000, known=False)
    yield Input("3 hours of unknown length", named("3h.flac", stream), "more than 3600 s", page="more than 600 s")
    yield Input("5 minutes at 655350 Hz", named("fast.flac", files.long_flac(300, 655_350)), "silence")
    yield Input("9 minutes of 8 channels", named("wide.flac", files.long_flac(540, 48_000, 8)), "silence")
    yield Input("zip of a gigabyte", named("bomb.wav", lambda: files.packed(*[bytes(10**8)] * 10)), UNREADABLE)
    yield Input("film of a huge picture", named("huge.mp4", files.film(side=16_000)))
    yield Input("200 sound tracks", named("tracks.mp4", lambda: files.tracks(200)), "too much memory")


def odd_samples() -> Iterable[Input]:
    """Sound that is none."""
    second = SAMPLE_RATE

    def with_one(value: float):
        def make() -> np.ndarray:
            sound = voice().astype(np.float64)
            sound[second] = value
            return sound

        return make

    for value in (np.nan, np.inf, -np.inf, 1e300):
        yield Input(
            f"a sample of {value}", named("a.wav", samples(with_one(value), "DOUBLE")), "no sound .NaN or infinite"
        )
    yield Input("only NaN", named("a.wav", samples(lambda: np.full(second, np.nan))), "no sound .NaN or infinite")
    yield Input("DC", named("a.wav", samples(lambda: np.full(2 * second, 0.5))), "silence")
    yield Input("voice on DC", named("a.wav", samples(lambda: voice() * 0.4 + 0.5)))
    yield Input("silence", named("a.wav", samples(lambda: np.zeros(2 * second), "PCM_16")), "silence")
    yield Input("silence of the least bit", named("a.wav", samples(lambda: np.tile([0, 2**-15], second))), "silence")
    clipped = samples(lambda: np.clip(voice() * 50, -1, 1), "PCM_16")
    yield Input("full-scale clipping", named("a.wav", clipped), warning="clipped")
    yield Input("square wave", named("a.wav", samples(lambda: np.sign(tone(2)))), warning="clipped")
    yield Input("40 dB above full scale", named("a.wav", samples(lambda: voice() * 100)), warning="full scale")
    yield Input("as quiet as can be", named("a.wav", samples(lambda: voice() * 1e-30)), "silence")
    yield Input("noise", named("a.wav", samples(lambda: np.random.default_rng(0).uniform(-1, 1, 2 * second))))
    yield Input("10 ms", named("a.wav", samples(lambda: tone(0.01))), r"0\.01 s of sound; at least")
    yield Input("one sample", named("a.wav", samples(lambda: np.ones(1))), "silence")
    sample = partial(as_file, np.ones(1), sample_rate=192_000)
    yield Input("one sample at 192 kHz", named("a.wav", sample), "too few samples")
    yield Input("a click in silence", named("a.wav", samples(lambda: np.eye(1, second, 8000)[0])), "of sound; at least")


def odd_names() -> Iterable[Input]:
    """Names that programs trip over."""
    names = [
        *("стимул 😀 ünï.wav", "two words .wav", "two\nlines.wav", "tab\there.wav", "bell\a.wav", "'\"`$(id);&|.wav"),
        *("100%d%s%n.wav", "<img src=x onerror=alert(1)>.wav", "no suffix", "clip.raw", "clip.mp3", "clip.wav.exe"),
        *("*.wav", "[a]?.wav", "~.wav", "a,b;c.wav", "\u202egnp.wav", "e\u0301.wav", "x" * 251 + ".wav"),
    ]
    for name in names:
        yield Input(f"name {name[:40]!r}", named(name, stored("WAV")))
    for suffix in ("wav", "m4a"):
        name = b"caf\xe9." + suffix.encode()
        yield Input(f"name that is no UTF-8, .{suffix}", named(name, WHOLE[suffix]), uploads=False)
    yield Input("m4a whose name breaks a line", named("two\nlines.m4a", WHOLE["m4a"]))
    yield Input("m4a whose name begins as a protocol", files.inside("concat:voice.m4a", WHOLE["m4a"]))
    for suffix in ("wav", "m4a"):
        yield Input(f"path with a dash first, .{suffix}", files.inside(f"-voice.{suffix}", WHOLE[suffix]))
        yield Input(f"path of a folder named http:, .{suffix}", files.inside(f"http:/voice.{suffix}", WHOLE[suffix]))


def odd_places() -> Iterable[Input]:
    """Paths at which there is no ordinary file."""
    absent = "there is no such file"
    yield Input("link to a voice", files.link_to_voice)
    yield Input("link to nothing", files.link("gone.wav"), absent, uploads=False)
    yield Input("link to itself", files.link("link.wav"), "symbolic links", uploads=False)
    yield Input("link to /dev/zero", files.link("/dev/zero"), NO_FILE, uploads=False)
    yield Input("folder without recordings", files.empty_folder, "no recordings|a folder", uploads=False)
    for device in ("/dev/zero", "/dev/null", "/dev/stdin"):
        yield Input(f"device {device}", files.given(device), NO_FILE, uploads=False)
    yield Input("FIFO", files.pipe, NO_FILE, uploads=False)
    yield Input("socket", files.door, NO_FILE, uploads=False)
    yield Input("no permission", files.forbidden, "Permission denied", uploads=False, as_anybody=True)
    yield Input("file that grows while read", files.growing, uploads=False)
    for path in (
        "http://127.0.0.1:9/voice.wav",
        "https://127.0.0.1:9/voice.wav",
        "file:///etc/passwd",
        "data:audio/wav",
    ):
        yield Input(f"path {path}", files.given(path), absent, uploads=False)
    yield Input("path that is too long", files.given("x" * 5000), "File name too long", uploads=False)
    yield Input("path with NUL", files.given("a\0b.wav"), "null (byte|character)", uploads=False)
    yield Input("path of nothing", files.given(""), "no path", page="There is no recording yet", uploads=False)
    yield Input("path below a file", files.given("/etc/passwd/a.wav"), "Not a directory", uploads=False)
    yield Input("a text of the system", files.given("/etc/passwd"), UNREADABLE, uploads=False)
    yield Input("a text of the kernel", files.given("/proc/self/environ"), "the file is empty", uploads=False)
