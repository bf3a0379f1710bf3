"""Reading a recording: rates, channels, arrays, and what is refused in words."""

import io
import os
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import (
    SAMPLE_RATE,
    AudioError,
    EmptyAudioError,
    InvalidSamplesError,
    TooLongError,
    UnreadableAudioError,
    load_audio,
    read_audio,
)
from ser_hf.audio.reading import RATE_KEYS
from tests.properties import any_bytes_are_sound_or_refused, whole_files
from tests.synthetic import as_file, claim_samples, encode, likeness, tone


class TestRatesAndChannels:
    @pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
    def test_a_tone_stays_the_same_tone(self, rate):
        samples = load_audio(as_file(tone(rate=rate), subtype="FLOAT", sample_rate=rate))
        assert len(samples) == pytest.approx(SAMPLE_RATE, abs=1)
        middle = slice(1000, 15000)
        assert len(load_audio({"array": tone(rate=rate), "sampling_rate": rate})) == pytest.approx(SAMPLE_RATE, abs=1)
        assert np.abs(samples[middle] - load_audio(tone())[middle]).max() < 2e-3

    def test_low_rate_gets_a_warning(self):
        (warning,) = read_audio(as_file(tone(rate=8000), sample_rate=8000)).warnings
        assert "8000 Hz" in warning

    def test_absurd_sample_rate_is_refused(self, clip):
        header = bytearray(as_file(clip))
        header[24:28] = (7).to_bytes(4, "little")
        with pytest.raises(AudioError):
            read_audio(bytes(header))
        with pytest.raises(UnreadableAudioError, match="sample rate of 7 Hz"):
            read_audio((7, clip))

    def test_originals_equal_our_16_khz_files(self, real_data):
        originals = sorted((real_data / "ravdess-48k-sample").rglob("*.wav"))
        assert len(originals) == 9
        channels = [soundfile.info(str(path)).channels for path in originals]
        assert channels.count(2) == 5
        for path in originals:
            ours = load_audio(real_data / "ravdess" / path.parent.name / f"{path.stem}.flac")
            samples = load_audio(path)
            assert samples.shape == ours.shape
            assert np.abs(samples - ours).max() <= 1.5 / 32768, path.name


class TestArrays:
    @pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", ">i2", ">f4", "float16", "float64"])
    def test_samples_are_scaled_by_their_full_scale(self, kind):
        scale, offset = {"int8": (127, 0), "uint8": (127, 128), "int32": (2**31 - 1, 0)}.get(kind, (2**15 - 1, 0))
        array = (tone() * (1 if "f" in kind else scale) + offset).astype(kind)
        array.flags.writeable = False
        for layout in (array, np.asfortranarray(np.stack([array, array], 1)), np.repeat(array, 2)[::2]):
            assert load_audio((16_000, layout)) == pytest.approx(load_audio(tone()), abs=2.5 / 127)

    @given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=200))
    def test_int16_arrays_equal_int16_files(self, values):
        array = np.array(values, np.int16)
        assert np.array_equal(load_audio((16_000, array)), load_audio(as_file(array)))

    def test_every_kind_of_source_agrees(self, tmp_path, clip):
        path = tmp_path / "clip.wav"
        soundfile.write(path, clip, SAMPLE_RATE, subtype="FLOAT")
        content = path.read_bytes()
        sources = [
            path,
            content,
            bytearray(content),
            {"path": str(path), "bytes": None},
            {"path": "gone.wav", "bytes": content},
            {"array": clip, "sampling_rate": SAMPLE_RATE},
            {"raw": clip, "sampling_rate": SAMPLE_RATE},
            (SAMPLE_RATE, clip),
            clip,
            clip.astype(np.float64),
            list(clip),
            np.stack([clip, clip]),
            np.stack([clip, clip], axis=1),
        ]
        tensor = torch.from_numpy(clip)[None].requires_grad_()
        upload = SimpleNamespace(file=io.BytesIO(content), filename="clip.wav")
        decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=tensor, sample_rate=SAMPLE_RATE))
        sources += [io.BytesIO(content), memoryview(content), upload, decoder, tensor, (clip, SAMPLE_RATE)]
        sources += [(tensor, np.float64(SAMPLE_RATE)), *({"array": clip, key: SAMPLE_RATE} for key in RATE_KEYS)]
        sources += [next(one for one in os.scandir(tmp_path))]
        with path.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
            file.read(100)
            spooled.write(content)
            for number, source in enumerate([*sources, file, spooled]):
                assert np.abs(load_audio(source) - load_audio(clip)).max() < 1e-7, number
        assert np.abs(load_audio(tensor.bfloat16()) - load_audio(clip)).max() < 0.01
        assert read_audio({"path": "a/b.wav", "bytes": content}).name == "a/b.wav"

    @pytest.mark.parametrize(
        "samples",
        [np.zeros((3, 3, 3)), np.array(["a", "b"]), np.zeros(5, complex), np.zeros(5, np.int64), np.float32(1)],
        ids=["three dimensions", "text", "complex", "int64", "a number"],
    )
    def test_arrays_that_are_no_sound(self, samples):
        with pytest.raises(InvalidSamplesError, match="recording: samples of"):
            read_audio({"array": samples, "sampling_rate": 16_000})

    @pytest.mark.parametrize("rate", [None, 0, -1, float("nan"), float("inf"), "fast", "missing"])
    def test_array_without_a_rate_is_refused(self, clip, rate):
        for key in RATE_KEYS:
            with pytest.raises(UnreadableAudioError, match="sampling rate"):
                read_audio({"array": clip} | ({} if rate == "missing" else {key: rate}))
        if rate != "missing":
            with pytest.raises(UnreadableAudioError, match="sampling rate"):
                read_audio((rate, clip))

    def test_text_and_lists_of_recordings_are_type_errors(self, tmp_path, clip):
        (tmp_path / "clip.wav").write_bytes(as_file(clip))
        with (tmp_path / "clip.wav").open(encoding="latin-1") as file, pytest.raises(TypeError, match="rb"):
            read_audio(file)
        for many in (["a.wav"], [b"", b""], [{"path": "a.wav"}]):
            with pytest.raises(TypeError, match="predict_many"):
                read_audio(many)

    @pytest.mark.parametrize("source", [5, None, {}, {"path": None, "bytes": None}])
    def test_what_is_no_recording_is_a_type_error(self, source):
        with pytest.raises(TypeError, match="recording"):
            read_audio(source)


class TestBadInput:
    def test_bad_paths_are_named(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.wav")
        (tmp_path / "empty.wav").touch()
        (tmp_path / "text.wav").write_text("This is not a recording.\n" * 50)
        for name in ("gone.wav", "pipe.wav", "text.wav", ".", "a\0b.wav", "a" * 5000):
            with pytest.raises(UnreadableAudioError, match=re.escape(str(tmp_path / name))):
                read_audio(tmp_path / name)
        with pytest.raises(EmptyAudioError, match=r"empty\.wav"):
            read_audio(tmp_path / "empty.wav")

    @pytest.mark.parametrize("container", ["WAV", "FLAC"])
    def test_no_samples(self, container, clip):
        for source in (b"", as_file(clip)[:44], np.zeros(0, np.float32)):
            with pytest.raises(EmptyAudioError):
                read_audio(source)
        for source in (as_file(np.zeros(0, np.float32), container), as_file(clip)[:30]):
            with pytest.raises(AudioError, match="recording: "):
                read_audio(source)

    def test_levels_beyond_full_scale(self, clip):
        clip = clip / np.abs(clip).max()
        assert read_audio(as_file(clip)).warnings == ()
        (warning,) = read_audio(as_file(np.clip(30 * clip, -1, 1))).warnings
        assert "clipped" in warning
        loud = 5 * clip
        recording = read_audio(loud)
        assert np.abs(recording.samples - load_audio(clip)).max() < 1e-6
        assert "5 times full scale" in recording.warnings[0]
        assert np.array_equal(loud, 5 * clip)  # the source is not changed

    def test_too_long(self, tmp_path, clip):
        soundfile.write(tmp_path / "long.flac", np.zeros(5 * SAMPLE_RATE, np.int16), SAMPLE_RATE)
        streamed = encode(tone(5, 48_000), "webm", "libopus", 48_000, {"live": "1"})
        claims_hours = claim_samples(as_file(clip, "FLAC"), 10 * 3600 * SAMPLE_RATE)
        long = [tmp_path / "long.flac", (SAMPLE_RATE, tone(5)), tone(5), encode(tone(5), "ipod", "aac")]
        for source in (*long, streamed, claims_hours):
            with pytest.raises(TooLongError, match="at most 2 s"):
                read_audio(source, max_seconds=2)
        assert read_audio(tmp_path / "long.flac", max_seconds=5).duration == 5
        assert read_audio(streamed).duration == pytest.approx(5, abs=0.1)
        recording = read_audio(claims_hours)
        assert recording.duration == pytest.approx(3.0, abs=0.6)
        assert "cut off" in recording.warnings[0]

    def test_forbidden_file(self, clip):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "secret.wav")
            path.write_bytes(as_file(clip))
            Path(folder).chmod(0o755)
            path.chmod(0)
            user = os.geteuid()
            if user == 0:  # root may read every file
                os.seteuid(65534)
            try:
                with pytest.raises(UnreadableAudioError, match=r"secret\.wav: Permission denied"):
                    read_audio(path)
            finally:
                os.seteuid(user)

    @pytest.mark.parametrize(
        "playlist",
        [
            "ffconcat version 1.0\nfile secret.wav\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.wav\n#EXT-X-ENDLIST\n",
        ],
    )
    def test_playlists_are_not_followed(self, tmp_path, clip, playlist):
        (tmp_path / "secret.wav").write_bytes(as_file(clip))
        (tmp_path / "list.wav").write_text(playlist)
        with pytest.raises(UnreadableAudioError):
            read_audio(tmp_path / "list.wav")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
    def test_nan_and_infinity(self, clip, value):
        samples = clip.copy()
        samples[20_000] = value
        with pytest.raises(InvalidSamplesError, match="NaN or infinite"):
            read_audio(samples)
        with pytest.raises(InvalidSamplesError, match="NaN or infinite"):
            read_audio(as_file(samples, subtype="FLOAT"))

    @pytest.mark.parametrize(
        ("content", "suffix"),
        [
            (lambda clip: as_file(clip), "wav"),
            (lambda clip: as_file(clip, "FLAC"), "flac"),
            (lambda clip: encode(clip, "mp3", "libmp3lame"), "mp3"),
            (lambda clip: encode(clip, "adts", "aac"), "aac"),
        ],
        ids=["wav", "flac", "mp3", "aac"],
    )
    def test_truncated_file_is_used_with_a_warning(self, tmp_path, clip, content, suffix):
        whole = content(clip)
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole[: len(whole) // 2])
        recording = read_audio(path)
        assert 0.8 < recording.duration < 2.2
        assert likeness(load_audio(clip)[: len(recording.samples)], recording.samples) > 0.95
        (warning,) = recording.warnings
        assert "cut off" in warning

    @pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_streamed_wav_of_unknown_length_is_not_cut_off(self, clip, size):
        content = bytearray(as_file(clip))
        content[4:8] = content[40:44] = size.to_bytes(4, "little")
        for source in (bytes(content), claim_samples(as_file(clip, "FLAC"), 0)):
            recording = read_audio(source, max_seconds=10)
            assert len(recording.samples) == len(clip)
            assert recording.warnings == ()

    @given(
        kind=st.sampled_from(sorted(whole_files())),
        damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
        cut=st.integers(1, 20_000),
    )
    def test_damaged_files_are_read_or_refused_in_words(self, kind, damage, cut):
        content = bytearray(whole_files()[kind][:cut])
        for position, value in damage:
            content[position % len(content)] = value
        any_bytes_are_sound_or_refused(bytes(content))

    @given(st.binary(min_size=1, max_size=400))
    def test_any_bytes_are_read_or_refused_in_words(self, content):
        any_bytes_are_sound_or_refused(content)
