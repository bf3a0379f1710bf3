import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.analysis import Analyser
from app.examples import FOLDER, examples, make
from app.examples.table import CLIPS, ESPEAK_NG_VERSION, Clip, Passage
from ser_hf.audio import SilenceError, check_speech, read_audio
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.labels import LABELS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
WINDOW_SECONDS = 4.0  # of the bundled neural model
SPOKEN = [clip for clip in CLIPS if clip.passages]
SHORT = [clip for clip in SPOKEN if len(clip.passages) == 1]
TOLERANCE = 1e-3  # of full scale: how resampling and filters round differs between processors


def recording(file: str):
    return read_audio(FOLDER / file)


@pytest.fixture(scope="module")
def synthesizer() -> str:
    """The installed espeak-ng's version; without the one that made the clips the test is skipped."""
    if shutil.which(make.PROGRAM) is None:
        pytest.skip("needs espeak-ng (on Debian: apt-get install espeak-ng)")
    version = make.espeak_version()
    if version != ESPEAK_NG_VERSION:
        pytest.skip(f"needs espeak-ng {ESPEAK_NG_VERSION}, which made the clips; here is {version}")
    return version


def fake_espeak(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of the same name where it is looked for first."""
    program = folder / make.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_examples_are_those_of_the_table_in_its_order():
    assert [(example.path.name, example.title) for example in examples()] == [(c.file, c.title) for c in CLIPS]
    assert all(example.path.is_file() for example in examples())


def test_names_and_titles_name_one_clip_each_and_no_emotion():
    for names in ([clip.file for clip in CLIPS], [clip.title for clip in CLIPS]):
        assert len(set(names)) == len(names)
        assert not [name for name in names for label in LABELS if label in name.lower()]


def test_folder_holds_no_other_sound():
    sounds = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".md") and path.is_file()}
    assert sounds == {clip.file for clip in CLIPS}


def test_clips_are_small_together():
    assert sum(example.path.stat().st_size for example in examples()) < 600_000


@pytest.mark.parametrize("clip", SHORT, ids=lambda clip: clip.file)
def test_short_clips_fit_one_window(clip):
    assert 2 < recording(clip.file).duration <= WINDOW_SECONDS


def test_long_clip_is_longer_than_two_windows():
    (long,) = [clip for clip in SPOKEN if clip not in SHORT]
    assert 2 * WINDOW_SECONDS < recording(long.file).duration <= 20


@pytest.mark.parametrize("clip", SPOKEN, ids=lambda clip: clip.file)
def test_pauses_are_a_room_and_not_digital_silence(clip):
    samples = recording(clip.file).samples
    check_speech(recording(clip.file))
    for edge in (samples[:4000], samples[-4000:]):  # of the 0.3 s before and after the voice
        assert np.std(edge) > 1e-5
        assert np.std(edge) < np.std(samples)


def test_room_without_a_voice_is_refused_as_silence():
    (room,) = [clip for clip in CLIPS if not clip.passages]
    with pytest.raises(SilenceError, match=room.file):
        check_speech(recording(room.file))


def test_clips_that_are_not_as_they_should_be_are_warned_about(analyser):
    warnings = {clip.file: analyser.analyse(str(FOLDER / clip.file))["warnings"] for clip in SHORT}
    assert any("background" in warning for warning in warnings["in-noise.flac"])
    assert any("8000 Hz" in warning for warning in warnings["telephone.flac"])
    assert not any("background" in warning or "Hz" in warning for warning in warnings["plain.flac"])


def test_readme_tells_of_every_clip_and_of_the_version():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| .+ \| CC0 1\.0 \|$", readme, re.MULTILINE)
    assert rows == [(clip.file, clip.title) for clip in CLIPS]
    assert f"made by espeak-ng {ESPEAK_NG_VERSION};" in readme


def test_import_of_the_examples_is_light():
    code = "import sys, app.examples; heavy = {'numpy', 'scipy', 'soundfile', 'gradio'} & set(sys.modules);"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} assert not heavy, heavy"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_script_makes_the_same_clips_again(synthesizer, tmp_path, capsys):
    assert make.main(["--output", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    for clip in CLIPS:
        made, kept = (read_audio(folder / clip.file, sample_rate=None) for folder in (tmp_path, FOLDER))
        assert made.sample_rate == kept.sample_rate == clip.sample_rate
        np.testing.assert_allclose(made.samples, kept.samples, rtol=0, atol=TOLERANCE, err_msg=clip.file)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("voice", "en-us+Andrea"), ("pitch", 80), ("pitch_range", 200), ("speed", 120), ("tilt", 0.6), ("drive", 4.0)],
)
def test_every_setting_changes_the_sound(synthesizer, setting, value):
    passage = Passage("The door is open.")
    plain, changed = make.speak(passage, 16_000), make.speak(replace(passage, **{setting: value}), 16_000)
    assert len(plain) != len(changed) or np.abs(plain - changed).max() > 0.01


def test_level_is_that_of_the_table(synthesizer):
    for drive in (0.0, 4.0):
        samples = make.speak(Passage("The door is open.", peak_db=-20.0, drive=drive), 16_000)
        assert np.abs(samples).max() == pytest.approx(0.1)


def test_text_is_spoken_and_no_markup(synthesizer):
    spoken = make.speak(Passage("one <b> two"), 16_000)
    assert len(spoken) > len(make.speak(Passage("one two"), 16_000)) + 1_600  # a letter more


def test_room_is_at_its_level_and_the_same_every_time():
    noise = make.room_noise(16_000, -40.0)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.01)
    np.testing.assert_array_equal(noise, make.room_noise(16_000, -40.0))


def test_band_takes_away_what_lies_outside():
    wide = Clip("room.flac", "Room", (), noise_db=-30.0, edge_seconds=1.0)
    narrow = replace(wide, band=(300.0, 3_400.0))
    power = [np.abs(np.fft.rfft(make.make_clip(clip))) ** 2 for clip in (wide, narrow)]
    inside, outside = slice(2 * 500, 2 * 3000), slice(2 * 5000, None)  # half a hertz a bin
    assert power[1][inside].sum() == pytest.approx(power[0][inside].sum(), rel=0.1)
    assert power[1][outside].sum() < 0.01 * power[0][outside].sum()


def test_without_espeak_the_script_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make.main(["--output", str(tmp_path / "clips")]) == 2
    assert "apt-get install espeak-ng" in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()


def test_failure_of_espeak_is_told_in_its_words(tmp_path, monkeypatch, capsys):
    fake_espeak(
        tmp_path, monkeypatch, 'test "$1" = --version && echo "eSpeak NG 1.51" || { echo no voice >&2; exit 1; }'
    )
    assert make.main(["--output", str(tmp_path / "clips")]) == 2
    assert "no voice" in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()


def test_espeak_without_a_version_is_refused(tmp_path, monkeypatch, capsys):
    fake_espeak(tmp_path, monkeypatch, "echo hello")
    assert make.main(["--output", str(tmp_path / "clips")]) == 2
    assert "'hello'" in capsys.readouterr().err


def test_another_version_of_espeak_is_said(tmp_path, monkeypatch, capsys):
    fake_espeak(tmp_path, monkeypatch, 'echo "eSpeak NG text-to-speech: 9.87.6  Data at: /nowhere/1.23"')
    monkeypatch.setattr(make, "CLIPS", [clip for clip in CLIPS if not clip.passages])
    assert make.main(["--output", str(tmp_path / "clips")]) == 0
    assert "9.87.6" in capsys.readouterr().err


@pytest.mark.slow
def test_bundled_models_answer_the_examples_in_many_ways():
    analyser = Analyser(*map(EmotionClassifier.from_pretrained, (DEFAULT_MODEL, DEFAULT_BASELINE)))
    answers = {clip.file: analyser.analyse(str(FOLDER / clip.file)) for clip in SPOKEN}
    assert len({answer["model"]["label"] for answer in answers.values()}) >= 2
    assert False in {answer["agree"] for answer in answers.values()}
    assert len({segment["label"] for segment in answers["changing.flac"]["model"]["timeline"]}) >= 2
