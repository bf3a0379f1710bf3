"""`train.augmented`: every kind of change as a sound, a recipe's draws, and a page that plays them all."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.augment import Augmentation, shift_pitch
from tests.synthetic import make_clip
from train.augmented import CLIP, describe, main, read_augmentation

KINDS = (
    "as-recorded",
    "noise",
    "speed",
    "pitch",
    "stretch",
    "gain",
    "shift",
    "silence",
    "room",
    "tilt",
    "band",
    "codec",
    "draw",
    "no-speech",
)
RECIPES = Path(__file__).resolve().parents[2] / "train" / "recipes"


class Sources(HTMLParser):
    """What a page refers to, per tag."""

    def __init__(self, page: str):
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href"):
                self.found.setdefault(tag, []).append(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heard") / "sounds"
    assert main(["--output", str(folder), "--draws", "3"]) == 0
    return folder


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_kind_is_a_sound_whose_name_tells_it(folder):
    files = sorted(folder.glob("*.wav"))
    assert {name for name in KINDS if any(file.name.startswith(name) for file in files)} == set(KINDS)
    assert all(file.name.startswith(KINDS) for file in files)
    assert len([file for file in files if file.name.startswith("draw")]) == 3
    sounds = {file.name: load_audio(file) for file in files}
    assert soundfile.info(files[0]).samplerate == SAMPLE_RATE
    clip = sounds.pop("as-recorded.wav")
    assert clip == pytest.approx(load_audio(CLIP), abs=1e-4)
    for name, samples in sounds.items():
        assert np.abs(samples).max() > 0.01, name
        assert samples.size != clip.size or np.abs(samples - clip).max() > 1e-3, name
    assert sounds["pitch+2semitones.wav"] == pytest.approx(shift_pitch(load_audio(CLIP), 2), abs=1e-4)


def test_the_page_plays_every_sound_and_needs_nothing_else(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    found = Sources(page).found
    assert set(found) == {"audio", "a", "img"}  # no style sheet, no script
    wavs = {file.name for file in folder.glob("*.wav")}
    assert [unquote(source) for source in found["audio"]] == [unquote(source) for source in found["a"]]
    assert {unquote(source) for source in found["audio"]} == wavs
    assert all(source.startswith("data:image/png;base64,") for source in found["img"])
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "prefers-color-scheme: dark" in page
    assert len(page) < 600_000


def test_same_seed_same_sounds(folder, tmp_path):
    assert main(["--output", str(tmp_path / "same"), "--draws", "1"]) == 0
    assert main(["--output", str(tmp_path / "other"), "--draws", "1", "--seed", "5"]) == 0
    for file in ("draw-1.wav", "noise-white-snr10dB.wav", "noise-babble-snr10dB.wav"):
        assert (tmp_path / "same" / file).read_bytes() == (folder / file).read_bytes()
        assert (tmp_path / "other" / file).read_bytes() != (folder / file).read_bytes()


def test_any_clip_and_a_recipes_own_augmentation(recipe, tmp_path):
    own = recipe("learning_rate: 1.0e-4\nspeed: 0\nsilence_probability: 0\nnoise_probability: 0\ngain_db: 6\n")
    soundfile.write(tmp_path / "my <clip>.wav", make_clip("sad", seconds=1.5), SAMPLE_RATE)
    clip, output = str(tmp_path / "my <clip>.wav"), tmp_path / "new" / "sounds"
    assert main([clip, "--recipe", str(own), "--output", str(output), "--draws", "4"]) == 0
    draws = [load_audio(file) for file in output.glob("draw-*.wav")]
    assert len(draws) == 4
    original = load_audio(clip)
    factors = [np.abs(draw).max() / np.abs(original).max() for draw in draws]
    for factor, draw in zip(factors, draws, strict=True):
        assert draw == pytest.approx(factor * original, abs=2e-3)  # louder or quieter, and nothing else
    assert len({round(factor, 2) for factor in factors}) > 1
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "my &lt;clip&gt;.wav" in page
    assert "drawn by the recipe recipe.yaml: gain_db 6." in page


def test_recipes_augmentation_is_read_field_by_field(recipe):
    text = "speed: 0.2\nroom_probability: 0.5\nroom_rt60: [0.3, 0.4]\ncodecs: [mp3]\nfamily: lstm\n"
    wanted = Augmentation(speed=0.2, room_probability=0.5, room_rt60=(0.3, 0.4), codecs=("mp3",))
    assert read_augmentation(recipe(text)) == wanted
    of_network = read_augmentation(RECIPES / "whisper.yaml")
    assert of_network == Augmentation(
        speed=0.05,
        gain_db=0,
        level_range_db=32,
        noise_probability=0.4,
        silence_probability=0.7,
        pitch_semitones=1,
        room_probability=0.25,
        tilt_db=3,
        band_probability=0.15,
        codec_probability=0.15,
    )


def test_description_leaves_out_what_never_happens():
    assert describe(Augmentation(), None) == (
        "All changes at once, drawn by ser_hf's defaults: speed 0.1, gain_db 6, noise_probability 0.3, "
        "snr_db 10 to 40, silence_probability 0.5."
    )
    told = describe(Augmentation(codec_probability=0.5, codecs=("mp3", "amr"), band_probability=1), None)
    assert told.endswith(
        "band_probability 1, band_low_hz 50 to 400, band_high_hz 3000 to 7000, codec_probability 0.5, "
        "codecs mp3 or amr."
    )
    off = Augmentation(speed=0, gain_db=0, noise_probability=0, silence_probability=0)
    assert describe(off, None).endswith("defaults: none.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.wav"], "nowhere.wav: there is no such file"),
        (["--recipe", "nowhere.yaml"], "cannot read the recipe nowhere.yaml: No such file"),
        (["--recipe", "{svm}"], "svm.yaml names no augmentation; it could name speed, gain_db,"),
        (["--recipe", "{wrong}"], "recipe.yaml: stretch must be a number between 0 and 0.5, not 'much'"),
        (["--draws", "-1"], "--draws and --seed are whole numbers of 0 or more"),
        (["{silent}"], "silence"),
        (["--output", "{full}"], "is there already: name a new folder, or empty that one"),
        (["--output", "{silent}"], "is there already"),
        (["--output", "{silent}/below"], "cannot write to --output"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, message, recipe, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    places = {"svm": RECIPES / "svm.yaml", "wrong": recipe("stretch: much\n")}
    places |= {"full": tmp_path / "full", "silent": tmp_path / "silent.wav"}
    arguments = [argument.format(**places) for argument in arguments]
    if "--output" not in arguments:
        arguments += ["--output", str(tmp_path / "new")]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not (tmp_path / "new").exists()
