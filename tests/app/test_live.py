from pathlib import Path

import numpy as np
import pytest
import soundfile

from app import live
from app.elements import symbol
from ser_hf.audio import SAMPLE_RATE
from ser_hf.labels import LABELS
from tests.synthetic import make_clip

LIMIT = 60


@pytest.fixture
def listening(analyser) -> live.Listening:
    return live.start(analyser.model)


def chunks(folder: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, seconds: float = 0.5) -> list[str]:
    """Pieces in files of their own, as the browser sends them."""
    step = round(seconds * rate)
    paths = []
    for index, start in enumerate(range(0, len(samples), step)):
        paths.append(str(folder / f"{index}.wav"))
        soundfile.write(paths[-1], samples[start : start + step], rate)
    return paths


def test_the_answer_follows_the_voice(listening, tmp_path):
    shown = [live.hear(listening, chunk, LIMIT) for chunk in chunks(tmp_path, make_clip("happy", seconds=4))]
    label = listening.moments[-1].prediction.label
    assert f"{label}</span> <b>" in shown[-1]
    assert all(name in shown[-1] for name in LABELS)
    assert "Listening: 4 s" in shown[-1]
    assert shown[-1].count(symbol(label)) > 1  # beside its word, and in the course of the answers


def test_no_piece_of_a_voice_is_kept(listening, tmp_path):
    paths = chunks(tmp_path, make_clip("happy", seconds=2))
    for path in paths:
        live.hear(listening, path, LIMIT)
    live.stop(listening, LIMIT)
    late = chunks(tmp_path, make_clip("sad", seconds=1))
    for path in late:
        live.hear(listening, path, LIMIT)
    assert {Path(path).stat().st_size for path in paths + late} == {0}


def test_after_a_stop_nothing_changes_any_more(listening, tmp_path):
    first, second = chunks(tmp_path, make_clip("happy", seconds=2))[1:3]
    live.hear(listening, first, LIMIT)
    assert "stopped" in live.stop(listening, LIMIT)
    assert live.hear(listening, second, LIMIT) is None
    assert live.hear(None, second, LIMIT) is None
    assert live.hear(listening, None, LIMIT) is None


def test_a_stop_before_the_first_answer_holds(listening, tmp_path):
    assert live.stop(listening, LIMIT) == live.WAITING
    late = chunks(tmp_path, make_clip("happy", seconds=1))
    assert [live.hear(listening, chunk, LIMIT) for chunk in late] == [None, None]


def test_a_stop_while_the_model_is_at_work_holds(listening, tmp_path, monkeypatch):
    answer = listening.stream.answer

    def answer_and_be_stopped():
        moment = answer()
        listening.stopped = True
        return moment

    monkeypatch.setattr(listening.stream, "answer", answer_and_be_stopped)
    assert live.hear(listening, chunks(tmp_path, make_clip("happy"))[2], LIMIT) is None


def test_listening_ends_by_itself_and_says_so(listening, tmp_path):
    shown = [live.hear(listening, chunk, 2) for chunk in chunks(tmp_path, make_clip("happy", seconds=3))]
    assert "2 s are over" in shown[3]
    assert shown[4:] == [None, None]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(SAMPLE_RATE), "silence"),
        (np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE), "background"),
    ],
    ids=["silence", "noise"],
)
def test_without_a_voice_there_is_no_answer(listening, tmp_path, samples, words):
    for chunk in chunks(tmp_path, samples):
        shown = live.hear(listening, chunk, LIMIT)
    assert words in shown
    assert "<b>" not in shown


def test_an_answer_fades_when_the_voice_is_gone(listening, tmp_path):
    voice, pause = make_clip("happy", seconds=2), np.zeros(4 * SAMPLE_RATE)
    for chunk in chunks(tmp_path, np.concatenate([voice, pause])):
        shown = live.hear(listening, chunk, LIMIT)
    assert "ser-past" in shown
    assert "silence" in shown


def test_only_the_latest_answers_are_kept(listening, tmp_path):
    for chunk in chunks(tmp_path, np.tile(make_clip("happy", seconds=4), 8)):
        live.hear(listening, chunk, LIMIT)
    assert len(listening.moments) == live.SHOWN_MOMENTS


def test_what_is_no_sound_is_said_in_words_without_the_servers_path(listening, tmp_path):
    path = tmp_path / "piece.wav"
    path.write_text("no sound")
    shown = live.hear(listening, str(path), LIMIT)
    assert "The microphone&#x27;s sound" in shown
    assert str(tmp_path) not in shown


def test_a_piece_that_was_emptied_already_changes_nothing(listening, tmp_path):
    """Gradio keeps equal pieces, such as those of a muted microphone, in one file."""
    path = tmp_path / "piece.wav"
    path.touch()
    assert live.hear(listening, str(path), LIMIT) is None


def test_a_stop_without_a_start_shows_what_to_do():
    assert live.stop(None, LIMIT) == live.WAITING


def test_where_answers_fall_behind_every_other_piece_is_heard_unanswered(listening, tmp_path):
    clock = iter([0.0, 2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0])  # four times as slow as the voice, then no more
    answered = [
        live.hear(listening, chunk, LIMIT, clock=lambda: next(clock)) is not None
        for chunk in chunks(tmp_path, make_clip("happy", seconds=4))
    ]
    assert answered == [True, False, True, False, True, False, True, False]
    assert listening.stream.seconds == 4.0
    at_once = live.start(listening.stream._classifier)
    times = iter(np.arange(8) * live.STEP_SECONDS + 0.3)
    assert all(
        live.hear(at_once, chunk, LIMIT, clock=lambda: next(times))
        for chunk in chunks(tmp_path, make_clip("happy", seconds=4))
    )


def test_shorter_pieces_than_asked_for_are_answered_no_more_often(listening, tmp_path):
    shown = [
        live.hear(listening, chunk, LIMIT) for chunk in chunks(tmp_path, make_clip("happy", seconds=4), seconds=0.1)
    ]
    assert [index for index, html in enumerate(shown) if html] == [4, 9, 14, 19, 24, 29, 34, 39]
    assert listening.moments[-1].seconds == pytest.approx(4)
