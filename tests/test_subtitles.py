"""Files over time: `ser_hf.subtitles`, and the command that writes them."""

import re

import numpy as np
import pytest
import soundfile

from ser_hf import predict
from ser_hf.audio import SAMPLE_RATE
from ser_hf.subtitles import TIMELINE_FORMATS, file_names
from tests.synthetic import make_clip


def row(*spans: tuple[float, float], label: str = "happy", **more) -> dict:
    timeline = [{"start": start, "end": end, "label": label, "scores": {label: 0.876}} for start, end in spans]
    return {"file": "a folder/my clip.wav", "duration": 3700.5, "timeline": timeline} | more


ROW = row((0.5, 2.0004), (3661.0626, 3662.25))
EXPECTED = {
    "srt": "1\n00:00:00,500 --> 00:00:02,000\nhappy 88 %\n\n2\n01:01:01,063 --> 01:01:02,250\nhappy 88 %\n",
    "vtt": "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nhappy 88 %\n\n01:01:01.063 --> 01:01:02.250\nhappy 88 %\n",
    "audacity": "0.500\t2.000\thappy\n3661.063\t3662.250\thappy\n",
    "rttm": "SPEAKER my_clip 1 0.500 1.500 <NA> <NA> happy <NA> <NA>\n"
    "SPEAKER my_clip 1 3661.063 1.187 <NA> <NA> happy <NA> <NA>\n",
}


@pytest.mark.parametrize("format", EXPECTED)
def test_formats_are_exact_to_the_millisecond(format):
    assert TIMELINE_FORMATS[format][0]([ROW]) == EXPECTED[format]


def test_textgrid_covers_the_recording():
    text = TIMELINE_FORMATS["textgrid"][0]([row((0.5, 2.0), (2.0, 3.0), label='a "b"')])
    found = re.findall(r'intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)\s+text = "(.*)"', text)
    names = ["", 'a ""b""', 'a ""b""', ""]
    edges = ["0.000", "0.500", "2.000", "3.000", "3700.500"]
    assert found == list(zip(edges, edges[1:], names, strict=False))
    assert "intervals: size = 4" in text


@pytest.mark.parametrize("format", TIMELINE_FORMATS)
def test_formats_name_the_speaker_of_a_channel(format):
    rows = [row((1.0, 2.0), channel="left"), row((0.0, 1.5), label="sad", channel="right")]
    text = TIMELINE_FORMATS[format][0](rows)
    for word in ("left", "right", "happy", "sad"):
        assert text.count(word) == 1
    if format != "textgrid":
        assert text.index("right") < text.index("left")  # by time


def test_overlapping_windows_share_the_time():
    text = TIMELINE_FORMATS["audacity"][0]([row((0.0, 4.0), (2.0, 6.0))])
    assert [line.split("\t")[:2] for line in text.splitlines()] == [["0.000", "3.000"], ["3.000", "6.000"]]


def test_vtt_escapes_labels():
    assert "a &lt;b&gt; &amp; c 88 %" in TIMELINE_FORMATS["vtt"][0]([row((0.0, 1.0), label="a <b> & c")])


def test_file_names_do_not_clash():
    names = ["x/1/a.wav", "x/2/a.wav", "x/b.wav", "x/b.flac"]
    assert sorted(file_names(names, ".srt").values()) == ["1/a.srt", "2/a.srt", "b.flac.srt", "b.wav.srt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "inner").mkdir()
    soundfile.write(folder / "inner" / "clip.wav", make_clip("happy"), SAMPLE_RATE)
    soundfile.write(folder / "long.wav", np.concatenate([make_clip("sad")] * 3), SAMPLE_RATE)
    (folder / "bad.wav").write_text("this is no sound")
    return folder


def run(*arguments: object) -> int:
    return predict.main([*map(str, arguments), "--model", "ser-svm"])


@pytest.mark.parametrize("format", ["srt", "textgrid"])
def test_command_writes_a_file_per_recording(format, folder, tmp_path, capsys):
    suffix = TIMELINE_FORMATS[format][1]
    assert run(folder, "--format", format, "--output", tmp_path / "out") == 1
    assert "bad.wav" in capsys.readouterr().err
    files = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(map(str, files)) == [f"inner/clip{suffix}", f"long{suffix}"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_command_writes_one_recording_to_the_terminal_or_a_file(folder, tmp_path, capsys):
    assert run(folder / "long.wav", "--format", "srt") == 0
    printed = capsys.readouterr().out
    assert printed.count(" --> ") == 3
    assert run(folder / "long.wav", "--format", "srt", "--output", tmp_path / "long.srt") == 0
    assert (tmp_path / "long.srt").read_text() == printed
    assert run(folder / "long.wav", "--format", "srt", "--hop", 1) == 0
    assert capsys.readouterr().out.count(" --> ") > 3


@pytest.mark.parametrize("arguments", [["--format", "srt"], ["--hop", "0"], ["--hop", "9"]])
def test_wrong_usage_exits_with_2(arguments, folder, capsys):
    assert run(folder, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
