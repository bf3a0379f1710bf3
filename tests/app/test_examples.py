import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from app.analysis import Analyser
from app.examples import ESPEAK_NG_VERSION, EXAMPLES, FOLDER, Example, Passage, examples, make
from ser_hf.audio import SilenceError, check_speech, read_audio
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.labels import LABELS

WINDOW_SECONDS = 4.0  # of the bundled neural model
SPOKEN = [clip for clip in EXAMPLES if clip.passages]
TOLERANCE = 1e-3  # of full scale: how resampling and filters round differs between processors


@pytest.fixture(scope="module")
def synthesizer() -> None:
    """Without the espeak-ng that made the clips the test is skipped."""
    if shutil.which(make.PROGRAM) is None:
        pytest.skip("needs espeak-ng (on Debian: apt-get install espeak-ng)")
    version = subprocess.run([make.PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    if f" {ESPEAK_NG_VERSION} " not in version:
        pytest.skip(f"needs espeak-ng {ESPEAK_NG_VERSION}, which made the clips; here is {version}")


def test_examples_are_the_sounds_of_the_folder():
    assert {clip.path for clip in examples()} == set(FOLDER.glob("*.flac"))
    assert sum(clip.path.stat().st_size for clip in EXAMPLES) < 600_000
    for names in ([clip.file for clip in EXAMPLES], [clip.title for clip in EXAMPLES]):
        assert len(set(names)) == len(names)
        assert not [name for name in names for label in LABELS if label in name.lower()]


@pytest.mark.parametrize("clip", SPOKEN, ids=lambda clip: clip.file)
def test_examples_are_speech_in_a_room(clip):
    recording = read_audio(clip.path)
    check_speech(recording)
    windows = (2, 5) if len(clip.passages) > 1 else (0.5, 1)
    assert windows[0] < recording.duration / WINDOW_SECONDS <= windows[1]
    for edge in (recording.samples[:4000], recording.samples[-4000:]):  # of the 0.3 s before and after the voice
        assert 1e-5 < np.std(edge) < np.std(recording.samples)


def test_example_without_a_voice_is_refused_as_silence():
    (room,) = [clip for clip in EXAMPLES if not clip.passages]
    with pytest.raises(SilenceError, match=room.file):
        check_speech(read_audio(room.path))


def test_readme_lists_every_example():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| .+ \| CC0 1\.0 \|$", readme, re.MULTILINE)
    assert rows == [(clip.file, clip.title) for clip in EXAMPLES]
    assert f"made by espeak-ng {ESPEAK_NG_VERSION};" in readme


def test_make_makes_the_same_clips_again(synthesizer, tmp_path):
    assert make.main(["--output", str(tmp_path)]) == 0
    for clip in EXAMPLES:
        made, kept = (read_audio(folder / clip.file, sample_rate=None) for folder in (tmp_path, FOLDER))
        assert made.sample_rate == kept.sample_rate == clip.sample_rate
        np.testing.assert_allclose(made.samples, kept.samples, rtol=0, atol=TOLERANCE, err_msg=clip.file)


def test_speak_keeps_to_the_passage(synthesizer):
    plain = make.speak(Passage("one two"), 16_000)
    assert len(make.speak(Passage("one <b> two"), 16_000)) > len(plain) + 1_600  # a letter more, and no markup
    assert np.abs(make.speak(Passage("one two", peak_db=-20.0, drive=4.0), 16_000)).max() == pytest.approx(0.1)


def test_room_noise_has_its_level():
    noise = make.room_noise(16_000, -40.0)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.01)
    np.testing.assert_array_equal(noise, make.room_noise(16_000, -40.0))


def test_make_clip_filters_by_its_band():
    wide = Example("room.flac", "Room", noise_db=-30.0, edge_seconds=1.0)
    narrow = replace(wide, band=(300.0, 3_400.0))
    power = [np.abs(np.fft.rfft(make.make_clip(clip))) ** 2 for clip in (wide, narrow)]
    inside, outside = slice(2 * 500, 2 * 3000), slice(2 * 5000, None)  # half a hertz a bin
    assert power[1][inside].sum() == pytest.approx(power[0][inside].sum(), rel=0.1)
    assert power[1][outside].sum() < 0.01 * power[0][outside].sum()


@pytest.mark.parametrize(("script", "words"), [(None, "apt-get"), ("echo no voice >&2; exit 1", "no voice")])
def test_make_reports_what_is_wrong_with_espeak(tmp_path, monkeypatch, capsys, script, words):
    if script:
        (tmp_path / make.PROGRAM).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / make.PROGRAM).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make.main(["--output", str(tmp_path / "clips")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()


@pytest.mark.slow
def test_bundled_models_predict_the_examples_differently():
    analyser = Analyser(*map(EmotionClassifier.from_pretrained, (DEFAULT_MODEL, DEFAULT_BASELINE)))
    answers = {clip.file: analyser.analyse(str(clip.path)) for clip in SPOKEN}
    assert len({answer["model"]["label"] for answer in answers.values()}) >= 2
    assert False in {answer["agree"] for answer in answers.values()}
    assert len({segment["label"] for segment in answers["changing.flac"]["model"]["timeline"]}) >= 2
