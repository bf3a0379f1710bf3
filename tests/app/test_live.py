from pathlib import Path

import numpy as np
import pytest
import soundfile

from app import live
from app.views import symbol
from ser_hf.audio import SAMPLE_RATE
from ser_hf.labels import LABELS
from tests.synthetic import make_clip

LIMIT = 60


@pytest.fixture
def listening(analyser) -> live.Listening:
    return live.start(analyser.model)


def chunks(folder: Path, samples: np.ndarray, seconds: float = 0.5) -> list[str]:
    """Pieces in files of their own, as the browser sends them."""
    step = round(seconds * SAMPLE_RATE)
    paths = []
    for index, start in enumerate(range(0, len(samples), step)):
        paths.append(str(folder / f"{index}.wav"))
        soundfile.write(paths[-1], samples[start : start + step], SAMPLE_RATE)
    return paths


def hear_all(listening: live.Listening, paths: list[str], limit: float = LIMIT, **options) -> list[str | None]:
    return [live.hear(listening, path, limit, **options) for path in paths]


def test_hear_follows_the_voice_and_keeps_no_piece(listening, tmp_path):
    paths = chunks(tmp_path, make_clip("happy", seconds=4))
    shown = hear_all(listening, paths)[-1]
    label = listening.moments[-1].prediction.label
    assert f"{label}</span> <b>" in shown
    assert all(name in shown for name in (*LABELS, "Listening: 4 s"))
    assert shown.count(symbol(label)) > 1  # beside its word, and in the course of the predictions
    assert {Path(path).stat().st_size for path in paths} == {0}


def test_stop_holds_whatever_comes_late(listening, tmp_path, monkeypatch):
    first, second, third = chunks(tmp_path, make_clip("happy", seconds=2))[1:]
    live.hear(listening, first, LIMIT)
    answer = listening.stream.answer

    def predict_and_be_stopped():
        moment = answer()
        listening.stopped = True
        return moment

    monkeypatch.setattr(listening.stream, "answer", predict_and_be_stopped)
    assert live.hear(listening, second, LIMIT) is None
    assert "stopped" in live.stop(listening, LIMIT)
    assert live.hear(listening, third, LIMIT) is None
    assert Path(third).stat().st_size == 0


def test_hear_and_stop_need_a_start(listening, tmp_path):
    assert live.stop(None, LIMIT) == live.stop(listening, LIMIT) == live.WAITING
    assert live.hear(None, chunks(tmp_path, make_clip("happy"))[0], LIMIT) is None
    assert live.hear(listening, None, LIMIT) is None


def test_hear_ends_at_the_limit(listening, tmp_path):
    shown = hear_all(listening, chunks(tmp_path, make_clip("happy", seconds=3)), limit=2)
    assert "2 s are over" in shown[3]
    assert shown[4:] == [None, None]


@pytest.mark.parametrize(
    ("samples", "words"),
    [(np.zeros(SAMPLE_RATE), "silence"), (np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE), "background")],
    ids=["silence", "noise"],
)
def test_hear_predicts_nothing_without_a_voice(listening, tmp_path, samples, words):
    shown = hear_all(listening, chunks(tmp_path, samples))[-1]
    assert words in shown
    assert "<b>" not in shown


def test_prediction_fades_when_the_voice_is_gone(listening, tmp_path):
    voice = np.concatenate([make_clip("happy", seconds=2), np.zeros(4 * SAMPLE_RATE)])
    shown = hear_all(listening, chunks(tmp_path, voice))[-1]
    assert "ser-past" in shown
    assert "silence" in shown


def test_hear_takes_what_is_no_sound(listening, tmp_path):
    path = tmp_path / "piece.wav"
    path.write_text("no sound")
    shown = live.hear(listening, str(path), LIMIT)
    assert "ser-refusal" in shown
    assert str(tmp_path) not in shown
    assert live.hear(listening, str(path), LIMIT) is None  # emptied: Gradio keeps equal pieces in one file


def test_hear_passes_over_every_other_piece_when_late(analyser, tmp_path):
    late = iter([0.0, 2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0])  # four times as slow as the voice, then no more
    in_time = iter(np.arange(8) * live.STEP_SECONDS + 0.3)
    for clock, expected in ((late, [True, False] * 4), (in_time, [True] * 8)):
        paths = chunks(tmp_path, make_clip("happy", seconds=4))
        shown = hear_all(live.start(analyser.model), paths, clock=lambda clock=clock: next(clock))
        assert [one is not None for one in shown] == expected


def test_hear_predicts_twice_a_second_from_short_pieces(listening, tmp_path):
    shown = hear_all(listening, chunks(tmp_path, make_clip("happy", seconds=4), seconds=0.1))
    assert [index for index, html in enumerate(shown) if html] == [4, 9, 14, 19, 24, 29, 34, 39]
    assert listening.moments[-1].seconds == pytest.approx(4)
