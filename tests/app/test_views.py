import numpy as np
import pytest

from app.analysis import Explanation
from app.limits import Limits
from app.views import counted_most, explanation_html, model_name, note, percent, result_html
from ser_hf.audio import SAMPLE_RATE, Recording
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS, LABELS

RECORDING = Recording(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE, "clip.wav")
COMMIT = "1a2b3c4d5e" * 4


@pytest.fixture
def result(analyser, recordings):
    return analyser.analyse(str(recordings / "clip.wav"))


def stretch(start: float, complete: float, without: float, evidence: float) -> dict[str, float]:
    return {"start": start, "end": start + 0.4, "complete": complete, "without": without, "evidence": evidence}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alice/ser-whisper@v1.0", "alice/ser-whisper@v1.0"),
        (f"alice/ser-whisper@{COMMIT}", "alice/ser-whisper"),
        (COMMIT, COMMIT),  # a folder's name, whatever it looks like
    ],
)
def test_model_name_leaves_out_the_commit(name, shown):
    assert model_name(name) == shown


def test_result_html_shows_both_predictions(result):
    html = result_html(result)
    assert html.count('class="ser-card"') == 2
    assert html.count("<li") >= 2 * len(LABELS)
    for part in ("model", "baseline"):
        label = result[part]["label"]
        assert f"<b>{percent(result[part]['scores'][label])}</b>" in html
        assert EMOTION_SYMBOLS[label] in html
        assert EMOTION_COLORS[label] in html


@pytest.mark.parametrize(
    ("model", "baseline", "agree", "kind", "low"),
    [
        (True, True, True, "agree", 0),
        (True, True, False, "disagree", 0),
        (True, False, False, "disagree", 1),
        (False, True, True, "unsure", 1),
        (False, False, True, "unsure", 2),
    ],
)
def test_result_html_marks_low_confidence(result, model, baseline, agree, kind, low):
    parts = {"model": model, "baseline": baseline}
    html = result_html(result | {part: result[part] | {"confident": parts[part]} for part in parts} | {"agree": agree})
    assert f"ser-verdict ser-{kind}" in html
    assert html.count("ser-closest") == low


def test_result_html_escapes_file_names(analyser, recordings, tmp_path):
    for source in ("clip.wav", "bad.wav"):
        path = tmp_path / "<img src=x onerror=alert(1)>.wav"
        path.write_bytes((recordings / source).read_bytes())
        assert "<img" not in result_html(analyser.analyse(str(path)))


def test_counted_most_is_the_strongest_evidence():
    stretches = [stretch(0.2, 0.9, 0.88, 0.2), stretch(0.4, 0.9, 0.31, 3.0), stretch(0.6, 0.9, 0.95, -0.7)]
    assert counted_most(stretches) == stretches[1]
    assert counted_most(stretches[2:]) is None
    assert counted_most([]) is None


def test_explanation_html_shows_the_stretch_and_standouts(result):
    standouts = [{"name": "pitch_mean", "words": "a high pitch (<b>", "deviation": 2.0}]
    html = explanation_html(result, Explanation(RECORDING, [stretch(0.4, 0.9, 0.31, 3.0)], standouts))
    for words in (
        "0.4 to 0.8 s",
        f"{percent(0.9)} to {percent(0.31)}.",
        result["model"]["label"],
        "<li>A high pitch (&lt;b&gt;</li>",
    ):
        assert words in html
    without = explanation_html(result, Explanation(RECORDING, [stretch(0.2, 0.9, 0.95, -0.7)], []))
    assert "0.2 to 0.6" not in without
    assert "<li>" not in without


def test_notes_name_every_limit():
    limits = Limits(megabytes=7, seconds=180, batch_files=11, batch_megabytes=13, batch_minutes=17, live_seconds=19)
    for subject, figures in (
        ("recordings", ["7 MB or 3 minutes", "20 minutes"]),
        ("live", ["3 seconds", "19 seconds"]),
        ("batch", ["11 recordings", "13 MB", "17 minutes", "7 MB or 3 minutes", "20 minutes"]),
    ):
        assert all(figure in note(subject, limits) for figure in figures)
