import numpy as np
import pytest

from app.analysis import Explanation
from app.limits import Limits
from app.views import answer_html, batch_note, counted_most, limits_note, live_note, model_name, reasons_html
from ser_hf.audio import SAMPLE_RATE, Recording
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS, LABELS

RECORDING = Recording(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE, "clip.wav")
COMMIT = "1a2b3c4d5e" * 4


@pytest.fixture
def answer(analyser, recordings):
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


def test_answer_html_shows_both_predictions(answer):
    html = answer_html(answer)
    assert html.count('class="ser-card"') == 2
    assert html.count("<li") >= 2 * len(LABELS)
    for part in ("model", "baseline"):
        label = answer[part]["label"]
        assert f"<b>{100 * answer[part]['scores'][label]:.0f} %</b>" in html
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
def test_answer_html_marks_low_confidence(answer, model, baseline, agree, kind, low):
    parts = {"model": model, "baseline": baseline}
    html = answer_html(answer | {part: answer[part] | {"confident": parts[part]} for part in parts} | {"agree": agree})
    assert f"ser-verdict ser-{kind}" in html
    assert html.count("ser-closest") == low


def test_answer_html_escapes_file_names(analyser, recordings, tmp_path):
    for source in ("clip.wav", "bad.wav"):
        path = tmp_path / "<img src=x onerror=alert(1)>.wav"
        path.write_bytes((recordings / source).read_bytes())
        assert "<img" not in answer_html(analyser.analyse(str(path)))


def test_counted_most_is_the_strongest_evidence():
    stretches = [stretch(0.2, 0.9, 0.88, 0.2), stretch(0.4, 0.9, 0.31, 3.0), stretch(0.6, 0.9, 0.95, -0.7)]
    assert counted_most(stretches) == stretches[1]
    assert counted_most(stretches[2:]) is None
    assert counted_most([]) is None


def test_reasons_html_shows_the_stretch_and_standouts(answer):
    standouts = [{"name": "pitch_mean", "words": "a high pitch (<b>", "deviation": 2.0}]
    html = reasons_html(answer, Explanation(RECORDING, [stretch(0.4, 0.9, 0.31, 3.0)], standouts))
    for words in ("0.4 to 0.8 s", "90 % to 31 %.", answer["model"]["label"], "<li>A high pitch (&lt;b&gt;</li>"):
        assert words in html
    without = reasons_html(answer, Explanation(RECORDING, [stretch(0.2, 0.9, 0.95, -0.7)], []))
    assert "0.2 to 0.6" not in without
    assert "<li>" not in without


def test_notes_name_every_limit():
    limits = Limits(megabytes=7, seconds=180, batch_files=11, batch_megabytes=13, batch_minutes=17, live_seconds=19)
    assert "7 MB or 3 minutes" in limits_note(limits)
    assert "19 seconds" in live_note(limits)
    for figure in ("11 recordings", "13 MB", "17 minutes", "7 MB or 3 minutes"):
        assert figure in batch_note(limits)
    assert "20 minutes" in limits_note(Limits(keep_seconds=600))
