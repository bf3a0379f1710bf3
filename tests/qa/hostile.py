"""Every container, cut-off file and decompression bomb, by the command and the page, within memory and time limits."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import soundfile

from app.analysis import Analyser
from ser_hf import predict
from ser_hf.audio import SAMPLE_RATE, InvalidSamplesError, SilenceError, TooLongError, TooShortError
from ser_hf.audio import UnreadableAudioError as Unreadable
from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import LABELS
from tests.hostile_audio import CASES, Case, Usage, file, film, tracks, voice, wav
from tests.synthetic import as_file, claim_samples, encode, tone

MAX_MEGABYTES, MAX_PROCESSOR_SECONDS = 500, 60
SUBTYPES = {
    "WAV": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM MS_ADPCM GSM610 G721_32",
    **{"WAVEX": "PCM_24", "RF64": "PCM_16", "W64": "DOUBLE", "AIFF": "PCM_S8 PCM_24", "AU": "ULAW DOUBLE"},
    **{"CAF": "ALAC_16 FLOAT", "FLAC": "PCM_S8 PCM_24", "OGG": "VORBIS OPUS", "MP3": "MPEG_LAYER_III"},
    **{"VOC": "PCM_16", "NIST": "PCM_16", "IRCAM": "FLOAT", "SVX": "PCM_16", "MAT5": "DOUBLE", "SDS": "PCM_16"},
}
# FFmpeg's container and codec, sample rate in Hz.
CODED = [
    *(("ipod", "aac", 44_100), ("ipod", "alac", 44_100), ("mp4", "aac", 48_000), ("mov", "pcm_s16le", 48_000)),
    *(("3gp", "libopencore_amrnb", 8_000), ("amr", "libopencore_amrnb", 8_000), ("webm", "libopus", 48_000)),
    *(("matroska", "aac", 16_000), ("matroska", "pcm_f64le", 16_000), ("matroska", "eac3", 48_000)),
    *(("avi", "libmp3lame", 44_100), ("avi", "adpcm_ms", 22_050), ("flv", "aac", 44_100), ("mpegts", "aac", 48_000)),
    *(("mpeg", "mp2", 48_000), ("asf", "wmav2", 22_050), ("asf", "wmav1", 22_050), ("adts", "aac", 16_000)),
    *(("ac3", "ac3", 48_000), ("wv", "wavpack", 44_100), ("tta", "tta", 44_100), ("ogg", "libopus", 48_000)),
    *(("wav", "libmp3lame", 16_000), ("aiff", "pcm_alaw", 8_000)),
]
# The tenth of the file from which on there is enough sound for a prediction, and whether the cut is warned of.
CUT_OFF = {
    "wav": (wav, 1, True),
    "flac": (lambda: as_file(voice(), "FLAC"), 3, True),
    "mp3": (lambda: as_file(voice(), "MP3"), 2, True),
    "ogg": (lambda: as_file(voice(), "OGG"), 6, False),
    "aac": (lambda: encode(voice(), "adts", "aac"), 1, False),
    "m4a": (lambda: encode(voice(), "ipod", "aac"), 10, False),
    "webm": (lambda: encode(voice(), "webm", "libopus"), 2, True),
    "wma": (lambda: ffmpeg("asf", "wmav2", 22_050), 2, False),
}


def ffmpeg(container: str, codec: str, rate: int, channels: int = 1) -> bytes:
    """The voice as FFmpeg encodes it, at a bit rate that the codec takes for speech."""
    sound = np.repeat(voice(rate)[:, None], channels, axis=1)
    return encode(sound, container, codec, rate, bit_rate=32_000 if codec.startswith("wma") else None)


def beginning(content: Callable[[], bytes], tenths: int) -> Callable[[], bytes]:
    return lambda: content()[: round(len(content()) * tenths / 10)]


def silent_flac(seconds: int, rate: int, channels: int = 1, known: bool = True) -> bytes:
    """Silence of this length in a small file, whose header says its length or, not `known`, 0 samples."""
    buffer, second = io.BytesIO(), np.zeros((rate, channels), np.int16)
    with soundfile.SoundFile(buffer, "w", rate, channels, "PCM_S8", format="FLAC") as stream:
        for _ in range(seconds):
            stream.write(second)
    return buffer.getvalue() if known else claim_samples(buffer.getvalue(), 0)


def zip_bomb() -> bytes:
    """A gigabyte of zeros in one megabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"{number}.wav", bytes(10**8))
    return buffer.getvalue()


def late_picture() -> bytes:
    """An flv in which a picture comes after 5 MB of sound alone."""
    sound = np.repeat(np.tile(voice(44_100), 11)[:, None], 2, axis=1)
    picture = b"\x22" + bytes(60)
    tag = b"\x09" + len(picture).to_bytes(3, "big") + bytes(7) + picture
    return encode(sound, "flv", "pcm_s16le", 44_100) + tag + len(tag).to_bytes(4, "big")


def formats() -> Iterable[Case]:
    for container, subtypes in SUBTYPES.items():
        for subtype in subtypes.split():
            yield Case(f"{container} {subtype}", file("clip", lambda c=container, s=subtype: as_file(voice(), c, s)))
    for coded in CODED:
        yield Case(" ".join(map(str, coded)), file("clip", lambda coded=coded: ffmpeg(*coded)))
    for rate in (4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 88_200, 96_000, 192_000):
        warning = f"{rate} Hz" if rate < SAMPLE_RATE else ""
        yield Case(f"wav at {rate} Hz", file("clip", lambda r=rate: as_file(voice(r), sample_rate=r)), None, warning)
    for n in (2, 3, 4, 5, 6, 7, 8, 64, 1024):
        content = file("clip", lambda n=n: as_file(voice()[:, None] * np.linspace(1, 0.5, n)))
        yield Case(f"wav of {n} channels", content, page_refuses=n == 1024)
    yield Case("m4a of 6 channels", file("clip", lambda: ffmpeg("ipod", "aac", 48_000, 6)))
    yield Case("film with sound", file("clip", film()))
    yield Case("picture that comes late", file("clip", late_picture), warning="damaged or cut off")


def cut_off() -> Iterable[Case]:
    for suffix, (content, enough, warns) in CUT_OFF.items():
        for tenths in range(1, 10):
            # Too little sound is too short where the codec still gives some, else unreadable.
            error = (
                None if tenths >= enough else Unreadable if suffix in ("flac", "m4a", "ogg", "wma") else TooShortError
            )
            make, warning = file(f"cut.{suffix}", beginning(content, tenths)), "cut off" if warns and not error else ""
            yield Case(f"{suffix} cut at {tenths} tenths", make, error, warning)


def bombs() -> Iterable[Case]:
    unknown = file("clip", lambda: silent_flac(3 * 3600, 8_000, known=False))
    yield Case("3 hours", file("clip", lambda: silent_flac(3 * 3600, 8_000)), TooLongError)
    yield Case("3 hours of unknown length", unknown, TooLongError)
    yield Case("5 minutes at 655350 Hz", file("clip", lambda: silent_flac(300, 655_350)), SilenceError)
    yield Case("9 minutes of 8 channels", file("clip", lambda: silent_flac(540, 48_000, 8)), SilenceError)
    yield Case("zip of a gigabyte", file("clip", zip_bomb), Unreadable)
    yield Case("film of a huge picture", file("clip", film(side=16_000)))
    yield Case("200 sound tracks", file("clip", lambda: tracks(200)), Unreadable)


def odd_samples() -> Iterable[Case]:
    def float_file(name: str, samples: np.ndarray, error: type | None = None, warning: str = "") -> Case:
        return Case(name, file("clip", lambda: as_file(samples, subtype="DOUBLE")), error, warning)

    for value in (np.nan, np.inf, 1e300):
        samples = voice().astype(np.float64)
        samples[SAMPLE_RATE] = value
        yield float_file(f"a sample of {value}", samples, InvalidSamplesError)
    yield float_file("voice on DC", voice() * 0.4 + 0.5)
    yield float_file("clipped", np.clip(voice() * 50, -1, 1), warning="clipped")
    yield float_file("40 dB above full scale", voice() * 100, warning="full scale")
    yield float_file("as quiet as can be", voice() * 1e-30, SilenceError)
    yield float_file("noise", np.random.default_rng(0).uniform(-1, 1, 2 * SAMPLE_RATE))
    yield float_file("10 ms", tone(0.01), TooShortError)
    yield float_file("one sample", np.ones(1), SilenceError)


@pytest.fixture(scope="module")
def analyser(tiny_whisper, tiny_svm) -> Analyser:
    """The page's models, warm, as tiny ones."""
    analyser = Analyser(*map(EmotionClassifier.from_pretrained, (tiny_whisper, tiny_svm)))
    analyser.warm_up()
    return analyser


@pytest.mark.parametrize(
    "case", [*CASES, *formats(), *cut_off(), *bombs(), *odd_samples()], ids=lambda case: repr(case.name)
)
def test_hostile_recording_by_command_and_page(case: Case, analyser: Analyser, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EmotionClassifier, "from_pretrained", lambda *args, **kwargs: analyser.model)
    path = case.make(tmp_path)
    with Usage() as usage:
        start = time.process_time()
        status = predict.main(["--model", "tiny", "--format", "jsonl", "--", path])
        answer = analyser.analyse(path)
        seconds = time.process_time() - start
    row = json.loads(capsys.readouterr().out)
    assert row["file"] == path
    assert status == (1 if case.error else 0), row
    assert ("error" in row) == bool(case.error)
    assert ("error" in answer) == bool(case.error or case.page_refuses), answer
    if case.error:
        assert "Traceback" not in row["error"] + answer["error"]
        if case.error in (SilenceError, TooShortError, TooLongError):
            assert answer["reason"] == {SilenceError: "silence", TooShortError: "too short"}.get(case.error, "too long")
    else:
        assert row["label"] in LABELS
        assert not case.warning or any(re.search(case.warning, warning) for warning in row["warnings"])
    assert usage.megabytes < MAX_MEGABYTES
    assert seconds < MAX_PROCESSOR_SECONDS
