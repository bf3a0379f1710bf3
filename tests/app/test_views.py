import numpy as np
import pytest
import soundfile

from app.analysis import Explanation
from app.limits import Limits
from app.views import answer_html, batch_note, header_html, limits_note, live_note, reasons_html
from ser_hf.audio import SAMPLE_RATE, Recording
from ser_hf.labels import LABELS
from ser_hf.marks import EMOTION_COLORS, EMOTION_SYMBOLS
from tests.synthetic import make_clip

RECORDING = Recording(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE, "clip.wav")


def test_page_shows_both_answers_and_says_whether_they_agree(analyser, recordings):
    answer = analyser.analyse(str(recordings / "clip.wav"))
    html = answer_html(answer)
    assert html.count('class="ser-card"') == 2
    assert html.count("<li") >= 2 * len(LABELS)
    for part in ("model", "baseline"):
        label = answer[part]["label"]
        assert f"<b>{100 * answer[part]['scores'][label]:.0f} %</b>" in html
        assert EMOTION_SYMBOLS[label] in html
        assert EMOTION_COLORS[label] in html
    sure = {part: answer[part] | {"confident": True} for part in ("model", "baseline")}
    assert "Both models predict" in answer_html(answer | sure | {"agree": True})
    assert "disagree" in answer_html(answer | sure | {"agree": False})


def test_page_says_which_model_is_not_sure(answer):
    def page(model: bool, baseline: bool) -> str:
        parts = {"model": model, "baseline": baseline}
        parts = {part: answer[part] | {"confident": confident, "warnings": []} for part, confident in parts.items()}
        return answer_html(answer | parts | {"agree": False, "warnings": []})

    assert "low confidence" not in page(True, True).lower()
    only_one = page(False, True)
    assert "The baseline predicts" in only_one
    assert only_one.count("ser-closest") == 1
    assert page(False, False).count("ser-closest") == 2
    assert "The baseline has low confidence" in page(True, False)


def test_commit_of_a_model_is_not_shown(analyser, recordings):
    answer = analyser.analyse(str(recordings / "clip.wav"))
    commit = "1a2b3c4d5e" * 4
    html = answer_html(answer | {"model": answer["model"] | {"name": f"alice/model@{commit}"}})
    assert "<small>alice/model</small>" in html
    assert commit not in html


def test_names_of_files_are_no_html(analyser, recordings, tmp_path):
    for source in ("clip.wav", "bad.wav"):
        path = tmp_path / "<img src=x onerror=alert(1)>.wav"
        path.write_bytes((recordings / source).read_bytes())
        assert "<img" not in answer_html(analyser.analyse(str(path)))


def test_clip_that_clips_is_told(analyser, tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.clip(make_clip("angry") * 30, -1, 1), SAMPLE_RATE)
    answer = analyser.analyse(str(tmp_path / "loud.wav"))
    assert "clipped" in answer_html(answer).lower()


@pytest.fixture
def answer(analyser, recordings):
    return analyser.analyse(str(recordings / "clip.wav"))


def stretch(start: float, complete: float, without: float, evidence: float) -> dict[str, float]:
    return {"start": start, "end": start + 0.4, "complete": complete, "without": without, "evidence": evidence}


def test_the_stretch_that_counted_most_is_told_with_what_it_does_to_the_answer(answer):
    stretches = [stretch(0.2, 0.9, 0.88, 0.2), stretch(0.4, 0.9, 0.31, 3.0), stretch(0.6, 0.9, 0.95, -0.7)]
    html = reasons_html(answer, Explanation(RECORDING, stretches, []))
    assert "from 0.4 to 0.8 s" in html
    assert "from 90 % to 31 %." in html
    windows = answer | {"model": answer["model"] | {"timeline": answer["model"]["timeline"] * 2}}
    assert "to 31 % in the window around it." in reasons_html(windows, Explanation(RECORDING, stretches, []))
    assert answer["model"]["label"] in html
    assert "Nothing that a listener could name" in html


def test_an_answer_that_no_stretch_carries_is_told(answer):
    html = reasons_html(answer, Explanation(RECORDING, [stretch(0.2, 0.9, 0.95, -0.7)], []))
    assert "On no stretch by itself" in html


def test_what_is_unusual_about_a_voice_is_listed(answer):
    standouts = [{"name": "pitch_mean", "words": "a high pitch (<b>", "deviation": 2.0}]
    html = reasons_html(answer, Explanation(RECORDING, [stretch(0.2, 0.9, 0.5, 1.0)], standouts))
    assert "<li>A high pitch (&lt;b&gt;</li>" in html


def test_notes_tell_every_limit():
    limits = Limits(megabytes=7, seconds=180, batch_files=11, batch_megabytes=13, batch_minutes=17, live_seconds=19)
    assert "7 MB or 3 minutes" in limits_note(limits)
    assert "19 seconds" in live_note(limits)
    for figure in ("11 recordings", "13 MB", "17 minutes", "7 MB or 3 minutes"):
        assert figure in batch_note(limits)
    assert "20 minutes" in limits_note(Limits(keep_seconds=600))


def test_header_is_true_of_any_two_models():
    """It is there before they are known."""
    for word in ("Whisper", "vector machine", "eight"):
        assert word not in header_html()


def test_the_header_denies_what_people_may_think():
    assert "Neither knows what a person feels" in header_html()
