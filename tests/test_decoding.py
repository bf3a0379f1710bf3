"""Opening and decoding: formats, tracks and covers, and files that are cut off."""

import io

import av
import numpy as np
import pytest

from ser_hf.audio import (
    SAMPLE_RATE,
    UnreadableAudioError,
    load_audio,
    read_audio,
)
from tests.hostile_audio import Usage, film, tracks
from tests.synthetic import as_file, encode, likeness, make_clip, tone


class TestFormats:
    @pytest.mark.parametrize(
        ("container", "subtype", "tolerance"),
        [
            ("WAV", "PCM_16", 2**-15),
            ("WAV", "PCM_24", 2**-23),
            ("WAV", "PCM_U8", 2**-7),
            ("WAV", "FLOAT", 0),
            ("FLAC", "PCM_16", 2**-15),
            ("AIFF", "PCM_16", 2**-15),
        ],
    )
    def test_lossless_files_give_their_samples(self, clip, container, subtype, tolerance):
        recording = read_audio(as_file(clip, container, subtype))
        assert recording.samples.dtype == np.float32
        assert recording.samples.shape == clip.shape
        assert np.abs(recording.samples - load_audio(clip)).max() <= tolerance + 1e-7
        assert recording.warnings == ()

    @pytest.mark.parametrize(
        ("suffix", "container", "codec", "rate"),
        [
            (".m4a", "ipod", "aac", 44_100),
            (".mp4", "mp4", "aac", 48_000),
            (".webm", "webm", "libopus", 48_000),
            (".mp3", "mp3", "libmp3lame", 44_100),
            (".aac", "adts", "aac", 16_000),
            (".ogg", "ogg", "libopus", 48_000),
        ],
    )
    @pytest.mark.parametrize("channels", [1, 2])
    def test_lossy_files_of_phones_and_browsers(self, tmp_path, suffix, container, codec, rate, channels):
        original = make_clip("happy", actor=3, sample_rate=rate)
        content = encode(np.stack([original] * channels, axis=1), container, codec, rate)
        path = tmp_path / f"recording{suffix}"
        path.write_bytes(content)
        recording = read_audio(path)
        assert recording.duration == pytest.approx(3.0, abs=0.1)
        assert likeness(load_audio((rate, original)), recording.samples) > 0.97
        assert np.array_equal(read_audio(content).samples, recording.samples)
        assert recording.name == str(path)

    def test_name_of_a_file_need_not_tell_its_format(self, tmp_path, clip):
        for name in ("clip.raw", "clip.mp3", "clip", "клип 1%.wav"):
            (tmp_path / name).write_bytes(as_file(clip))
            assert len(load_audio(tmp_path / name)) == len(clip), name


@pytest.mark.parametrize("layout", ["stereo", "5.1", "7.1", "hexadecagonal"])
def test_many_channels_are_mixed_down(layout):
    """Eight and more once ended the whole process: in planes, FFmpeg's frames have more than PyAV looks for."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        stream = file.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout=layout)
        channels = av.AudioLayout(layout).nb_channels
        sound = np.zeros((1, SAMPLE_RATE * channels), np.int16)
        sound[0, ::channels] = 32_767 * tone()  # the first channel alone
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout=layout)
        frame.sample_rate = SAMPLE_RATE
        for part in (frame, None):
            file.mux(stream.encode(part))
    recording = read_audio(buffer.getvalue())
    assert len(recording.samples) == SAMPLE_RATE
    share = 1 if channels == 2 else 1 / channels  # of two channels, the silent one is left out
    np.testing.assert_allclose(recording.samples, share * load_audio(tone()), atol=1e-3)


def test_a_cover_of_gigabytes_is_not_unpacked():
    """FFmpeg would unpack its picture, to see what it is."""
    content = film(side=6000)()
    with Usage() as usage:
        assert read_audio(content).duration == pytest.approx(3.0, abs=0.1)
    assert usage.megabytes < 50  # its picture has 108


def test_hundreds_of_tracks_are_refused():
    """Nine hundred of them once took 620 MB."""
    assert read_audio(tracks(20)).duration == pytest.approx(3.0, abs=0.1)
    with pytest.raises(UnreadableAudioError, match="memory"):
        read_audio(tracks(200))


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_webm_that_is_cut_off_gets_a_warning(clip, share):
    content = encode(clip, "webm", "libopus")
    recording = read_audio(content[: round(share * len(content))])
    assert "cut off" in recording.warnings[0]
    assert read_audio(content).warnings == ()
