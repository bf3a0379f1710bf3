"""Where in a recording the speech is: `check_speech`, `speech_span`, `sliding_windows`, `utterances`."""

import itertools

import numpy as np
import pytest
import soxr
from hypothesis import example, given
from hypothesis import strategies as st

from ser_hf.audio import (
    MIN_SECONDS,
    SAMPLE_RATE,
    SILENCE_PEAK,
    Recording,
    SilenceError,
    TooShortError,
    check_speech,
    frame_power,
    peak_level,
    read_audio,
    sliding_windows,
    speech_span,
    speech_windows,
    trim_silence,
    utterances,
)
from ser_hf.audio.channels import high_pass
from tests.synthetic import as_file, make_clip, tone


class TestCheckSpeech:
    @pytest.mark.parametrize("offset", [0.0, 0.2])
    def test_silence(self, offset):
        noise = np.random.default_rng(0).uniform(-1, 1, SAMPLE_RATE) * 0.7 * SILENCE_PEAK + offset
        for samples in (noise, np.full(SAMPLE_RATE, offset)):
            with pytest.raises(SilenceError, match="recording: silence"):
                check_speech(read_audio(samples))

    def test_too_short(self, clip):
        check_speech(read_audio(clip * 0.006 / np.abs(clip).max()))  # as quiet as the quietest clip of RAVDESS
        check_speech(read_audio(tone(MIN_SECONDS)))
        silence = np.zeros(SAMPLE_RATE)
        for samples in (tone(0.05), np.concatenate([silence, tone(0.05), silence])):
            with pytest.raises(TooShortError, match="recording"):
                check_speech(read_audio(samples))


class TestSpeechSpan:
    def test_digital_silence_is_kept_whole(self):
        assert speech_span(np.zeros(5000, np.float32)) == (0, 5000)

    @given(st.integers(0, 8000), st.integers(400, 16_000), st.integers(0, 8000), st.integers(0, 9))
    def test_a_loud_tone_is_never_cut(self, before, length, after, seed):
        samples = np.random.default_rng(seed).normal(0, 1e-4, before + length + after)
        samples[before : before + length] += tone(length / SAMPLE_RATE)
        start, end = speech_span(samples)
        assert 0 <= start <= before
        assert before + length <= end <= len(samples)
        frame = round(0.025 * SAMPLE_RATE)
        assert before - start <= frame
        assert end - before - length <= frame

    @given(st.lists(st.floats(-1, 1, width=32), max_size=2000), st.floats(0, 100))
    def test_within_bounds_for_any_samples(self, values, top_db):
        start, end = speech_span(np.array(values, np.float32), top_db)
        assert 0 <= start <= end <= len(values)
        if values:
            assert start < end

    @pytest.mark.parametrize(("options", "limit"), [({}, 40), ({"top_db": 20}, 20), ({"top_db": 60}, 60)])
    def test_frames_count_down_to_top_db(self, options, limit):
        for below, counts in ((limit - 0.4, True), (limit + 0.4, False)):
            samples = np.concatenate([np.full(SAMPLE_RATE, level) for level in (0.5, 0.5 * 10 ** (-below / 20))])
            assert (speech_span(samples, **options)[1] > 1.9 * SAMPLE_RATE) == counts
            assert (len(trim_silence(samples, **options)) > 1.9 * SAMPLE_RATE) == counts

    def test_frames_heed_the_sample_rate(self):
        samples = np.zeros(8000)
        samples[2000:3600] = 0.5
        start, end = speech_span(samples, sample_rate=8000)
        assert 2000 - 200 <= start <= 2000
        assert 3600 <= end <= 3600 + 200
        samples[3500:3600] = 0  # 0.19 s: twice as long frames would make enough of it
        with pytest.raises(TooShortError):
            check_speech(Recording(samples, 8000, "a.wav"))

    def test_frames_of_25_ms_start_every_10(self):
        starts, power = frame_power(np.full(1000, 0.5))
        assert starts.tolist() == [0, 160, 320, 480, 640]
        assert power == pytest.approx([100, 100, 100, 100, 90])


class TestSlidingWindows:
    @given(st.integers(0, 5000), st.integers(1, 700), st.data())
    def test_cover_everything_with_constant_length(self, n_samples, window, data):
        hop = data.draw(st.integers(1, window))
        windows = sliding_windows(n_samples, window, hop)
        assert windows[0][0] == 0
        assert windows[-1][1] == n_samples
        assert all(end - start == min(window, n_samples) for start, end in windows)
        for (start, end), (following, _) in itertools.pairwise(windows):
            assert start < following <= min(end, start + hop)
        assert len(windows) <= max(0, n_samples - window) // hop + 2

    def test_example(self):
        assert sliding_windows(10, 4, 2) == [(0, 4), (2, 6), (4, 8), (6, 10)]
        assert sliding_windows(11, 4, 2) == [(0, 4), (2, 6), (4, 8), (6, 10), (7, 11)]
        assert sliding_windows(4, 4, 2) == [(0, 4)]

    @pytest.mark.parametrize(("window", "hop"), [(0, 1), (4, 0), (4, 5), (-1, -1)])
    def test_windows_that_would_leave_gaps_are_refused(self, window, hop):
        with pytest.raises(ValueError, match="window"):
            sliding_windows(100, window, hop)


class TestLongRecordings:
    """They are measured piece by piece, so that an hour takes no more memory than its samples."""

    @given(st.integers(1, 40_000), st.integers(1, 7), st.sampled_from([8_000, 11_025, 16_000]))
    def test_pieces_give_the_powers_of_the_whole(self, n, at_once, rate):
        samples = np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)
        starts, power = frame_power(samples, rate)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ser_hf.audio.speech.FRAMES_AT_ONCE", at_once)
            again, pieces = frame_power(samples, rate)
        assert np.array_equal(starts, again)
        assert pieces == pytest.approx(power, rel=1e-9, abs=1e-12)

    @given(st.lists(st.floats(-1, 1, width=32), min_size=1), st.floats(-1, 1))
    def test_peak_level_is_the_largest_distance(self, values, centre):
        samples = np.array(values, np.float32)
        assert peak_level(samples, centre) == np.abs(samples.astype(np.float64) - centre).max()
        assert peak_level(samples) == np.abs(samples).max()

    @pytest.mark.parametrize("rate", [4_000, 11_025, 44_100, 192_000])
    def test_pieces_are_resampled_as_the_whole(self, rate):
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate + 7).astype(np.float32)
        expected = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
        high_pass(expected[:, None], SAMPLE_RATE)
        assert np.array_equal(read_audio(as_file(samples, "WAV", "FLOAT", rate)).samples, expected)


@given(
    parts=st.lists(st.tuples(st.booleans(), st.floats(0.05, 9)), min_size=1, max_size=5),
    window_seconds=st.sampled_from([1.0, 3.0, 5.0]),
)
@example(parts=[(False, 30.0), (True, 0.3)], window_seconds=5.0)
def test_speech_windows_fit_and_hold_the_loudest_moment(parts, window_seconds):
    rng = np.random.default_rng(0)
    samples = np.concatenate(
        [rng.normal(0, 0.1 if voice else 1e-5, round(s * SAMPLE_RATE)).astype(np.float32) for voice, s in parts]
    )
    found = speech_windows(samples, window_seconds)
    windows = list(itertools.chain(*found))
    assert windows == sorted(windows)
    assert all(before[-1][1] <= after[0][0] for before, after in itertools.pairwise(found))
    assert all(0 <= start < end <= len(samples) for start, end in windows)
    assert all(end - start <= round(window_seconds * SAMPLE_RATE) for start, end in windows)
    if min((seconds for voice, seconds in parts if voice), default=0) >= 0.3:  # what is shorter is no speech
        loudest = int(np.abs(samples).argmax())
        assert any(start <= loudest < end for start, end in windows)
    first, last = speech_span(samples)
    if last - first <= window_seconds * SAMPLE_RATE:
        assert windows == [(first, last)]


def test_speech_windows_overlap_and_skip_silence():
    rng = np.random.default_rng(0)
    voice = np.sign(rng.normal(size=12 * SAMPLE_RATE)).astype(np.float32)
    every = [(s * SAMPLE_RATE, (s + 4) * SAMPLE_RATE) for s in (0, 2, 4, 6, 8)]
    assert speech_windows(voice, 4.0) == [every]  # no pause: one utterance
    assert speech_windows(voice, 4.0, hop_seconds=2.0) == [[window] for window in every]
    voice[4 * SAMPLE_RATE : 8 * SAMPLE_RATE] *= np.float32(0.0099)
    assert speech_windows(voice, 4.0, hop_seconds=2.0) == [[every[index]] for index in (0, 1, 3, 4)]
    utterances_found = speech_windows(voice, 4.0)
    edges = [(windows[0][0], windows[-1][1]) for windows in utterances_found]
    np.testing.assert_allclose(edges, [every[0], every[-1]], atol=0.03 * SAMPLE_RATE)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.0, 10.0])
def test_speech_windows_do_not_depend_on_silence(clip, seconds):
    silence = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
    first, last = speech_span(clip)
    (((start, end),),) = speech_windows(np.concatenate([silence, clip, silence]), 4.0)
    assert abs(start - len(silence) - first) <= 160
    assert abs(end - len(silence) - last) <= 160


@pytest.mark.parametrize("noise_db", [None, -70, -50])
def test_utterances_begin_and_end_where_speech_does(noise_db):
    rng = np.random.default_rng(0)
    parts, expected, place = [], [], 0
    for number, emotion in enumerate(("happy", "sad", "angry", "neutral", "happy")):
        voice = trim_silence(make_clip(emotion, actor=3, seconds=2.0 + number / 2), top_db=20)
        voice = voice * np.float32(0.3 / np.abs(voice).max())
        pause = np.zeros(round(rng.uniform(0.45, 2) * SAMPLE_RATE), np.float32)
        parts += [pause, voice]
        expected.append((place + len(pause), place + len(pause) + len(voice)))
        place = expected[-1][1]
    samples = np.concatenate(parts)
    if noise_db is not None:
        samples = samples + rng.normal(0, 10 ** (noise_db / 20), len(samples)).astype(np.float32)
    found = utterances(samples, 4 * SAMPLE_RATE)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=0.2 * SAMPLE_RATE)


def test_utterances_join_short_ones_and_drop_clicks():
    samples = np.zeros(12 * SAMPLE_RATE, np.float32)
    for start, seconds in ((1.0, 2.0), (3.5, 0.5), (7.0, 0.1), (9.0, 0.5)):
        place = round(start * SAMPLE_RATE)
        samples[place : place + round(seconds * SAMPLE_RATE)] = np.resize(tone(0.5), round(seconds * SAMPLE_RATE))
    found = np.array(utterances(samples, 4 * SAMPLE_RATE)) / SAMPLE_RATE
    np.testing.assert_allclose(found, [(1.0, 4.0), (9.0, 9.5)], atol=0.03)
    assert len(utterances(samples, 2 * SAMPLE_RATE)) == 3  # both do not fit
