"""The probe: one thing is changed at a time, what is trained on is not what is tested, and the report says both."""

from __future__ import annotations

import numpy as np
import pytest

from ser_hf.audio import speech_span
from ser_hf.labels import LABELS
from tests.corpora.trees import make_emodb
from tests.synthetic import make_clip, make_ravdess
from tests.tiny_bases import save_tiny_base
from train import probe

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom", "ignore:.*fewer than")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    make_ravdess(folder / "ravdess", statements=(1, 2), seconds=0.5)
    make_emodb(folder / "emodb", seconds=0.3)
    return folder


@pytest.mark.slow
def test_the_report_has_a_row_for_every_trial(data_dir, tmp_path, monkeypatch):
    trials = [
        probe.Trial("as recorded"),
        probe.Trial("12 dB louder", "silence cut"),
        *probe.TRIALS[-4:-2],
        probe.TRIALS[-1],
    ]
    monkeypatch.setattr(probe, "TRIALS", trials)
    base = save_tiny_base("whisper", tmp_path / "base")
    command = ["--base_model", str(base), "--layer", "2", "--window_seconds", "1", "--data_dir", str(data_dir)]
    reports = []
    for name in ("one.md", "two.md"):
        assert probe.main([*command, "--output", str(tmp_path / name)]) == 0
        reports.append((tmp_path / name).read_text())
    assert reports[0] == reports[1]
    rows = [line.strip("| ").split(" | ") for line in reports[0].splitlines() if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [
        ["as recorded", "as recorded"],
        ["12 dB louder", "silence cut"],
        ["as recorded, one sentence", "as recorded, the same sentence"],
        ["as recorded, one sentence", "as recorded, the other sentence"],
        ["as loud as chance has it, behind the norm", "as recorded"],
    ]
    for row in rows:
        assert all(0 <= float(figure) <= 100 for figure in row[2:5])
        assert float(row[4]) >= float(row[3])  # fewer answers to choose from, none of them the right one less
        assert row[5].split()[0] in LABELS
    assert "the 6 labels that both corpora have" in reports[0]
    assert "has 16.7 % of" in reports[0]


def test_each_version_changes_what_it_is_called_by():
    clip, rng = make_clip("angry", seconds=2.0), np.random.default_rng(0)
    start, end = speech_span(clip)

    def level(samples):
        first, last = speech_span(samples)
        return 10 * np.log10(np.mean(np.square(samples[first:last], dtype=float)))

    made = {name: change(clip, rng) for name, change in probe.VERSIONS.items()}
    assert made["as recorded"] is clip
    assert level(made["12 dB quieter"]) == pytest.approx(level(clip) - 12, abs=0.01)
    assert level(made["all as loud"]) == pytest.approx(-28, abs=0.01)
    assert level(made["as loud as chance has it"]) != pytest.approx(level(clip), abs=0.01)
    assert made["silence cut"].size == end - start
    assert end - start <= made["silence cut by chance"].size < clip.size
    assert not made["1 s of silence before"][:16_000].any()
    assert made["in a room"].size == clip.size


def test_what_cannot_be_used_is_told_in_words(data_dir, tmp_path, capsys):
    base = save_tiny_base("whisper", tmp_path / "base")
    command = ["--base_model", str(base), "--window_seconds", "1", "--output", str(tmp_path / "probe.md")]
    assert probe.main([*command, "--layer", "9", "--data_dir", str(data_dir)]) == 2
    assert "error: " in (told := capsys.readouterr().err)
    assert "has 3 layers" in told
    (tmp_path / "ravdess").mkdir()
    assert probe.main([*command, "--data_dir", str(tmp_path)]) == 2
    assert "ravdess" in capsys.readouterr().err
    assert not (tmp_path / "probe.md").exists()
