import re
import shutil
import subprocess

import numpy as np
import pytest

from app.examples import FOLDER, examples
from experiments import example_clips
from ser_hf.audio import SilenceError, check_speech, read_audio
from ser_hf.labels import LABELS

SILENT = "empty-room.flac"
TOLERANCE = 1e-3  # of full scale: how resampling and filters round differs between processors


@pytest.fixture(scope="module")
def synthesizer() -> None:
    """Without the espeak-ng that made the clips the test is skipped."""
    if shutil.which(example_clips.PROGRAM) is None:
        pytest.skip("needs espeak-ng (on Debian: apt-get install espeak-ng)")
    version = subprocess.run([example_clips.PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    if f" {example_clips.ESPEAK_NG_VERSION} " not in version:
        pytest.skip(f"needs espeak-ng {example_clips.ESPEAK_NG_VERSION}, which made the clips; here is {version}")


def test_examples_are_the_sounds_of_the_folder():
    assert {clip.path for clip in examples()} == set(FOLDER.glob("*.flac"))
    assert [clip.file for clip in examples()] == list(example_clips.CLIPS)
    assert sum(clip.path.stat().st_size for clip in examples()) < 600_000
    assert not [clip for clip in examples() for label in LABELS if label in f"{clip.file} {clip.title}".lower()]


@pytest.mark.parametrize("clip", examples(), ids=lambda clip: clip.file)
def test_examples_are_speech_but_for_the_empty_room(clip):
    recording = read_audio(clip.path)
    if clip.file == SILENT:
        with pytest.raises(SilenceError, match=clip.file):
            check_speech(recording)
    else:
        check_speech(recording)


def test_readme_lists_every_example():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| .+ \| CC0 1\.0 \|$", readme, re.MULTILINE)
    assert rows == [(clip.file, clip.title) for clip in examples()]
    assert f"made by espeak-ng {example_clips.ESPEAK_NG_VERSION};" in readme


def test_example_clips_are_made_again(synthesizer, tmp_path):
    assert example_clips.main(["--output", str(tmp_path)]) == 0
    for clip in examples():
        made, kept = (read_audio(folder / clip.file, sample_rate=None) for folder in (tmp_path, FOLDER))
        assert made.sample_rate == kept.sample_rate
        np.testing.assert_allclose(made.samples, kept.samples, rtol=0, atol=TOLERANCE, err_msg=clip.file)


@pytest.mark.parametrize(("script", "words"), [(None, "apt-get"), ("echo no voice >&2; exit 1", "no voice")])
def test_example_clips_report_a_failing_espeak(tmp_path, monkeypatch, capsys, script, words):
    if script:
        (tmp_path / example_clips.PROGRAM).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / example_clips.PROGRAM).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert example_clips.main(["--output", str(tmp_path / "clips")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()
