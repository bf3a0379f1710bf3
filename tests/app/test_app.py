import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file

from app.analysis import Analyser
from app.app import build_parser, main
from app.limits import Limits
from app.plots import has_timeline, timeline_figure
from app.views import REFUSALS, answer_html
from ser_hf.audio import SAMPLE_RATE
from ser_hf.labels import LABELS
from ser_hf.plots import EMOTION_COLORS, EMOTION_SYMBOLS
from tests.app.conftest import free_port
from tests.synthetic import make_clip

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    client = Client(address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_answer_is_that_of_both_classifiers(analyser, recordings):
    answer = analyser.analyse(str(recordings / "clip.wav"))
    assert answer["file"] == "clip.wav"
    for part, classifier in (("model", analyser.model), ("baseline", analyser.baseline)):
        expected = classifier.predict(recordings / "clip.wav").to_dict()
        assert answer[part]["name"] == classifier.name
        assert {key: answer[part][key] for key in ("label", "scores", "timeline")} == {
            key: expected[key] for key in ("label", "scores", "timeline")
        }
    assert answer["agree"] == (answer["model"]["label"] == answer["baseline"]["label"])
    json.dumps(answer)


def test_warnings_of_both_models_are_told_once(analyser, recordings):
    answer = analyser.analyse(str(recordings / "long.flac"))
    assert any("windows" in warning for warning in answer["warnings"])
    for part in ("model", "baseline"):
        assert not set(answer["warnings"]) & set(answer[part]["warnings"])


@pytest.mark.parametrize(
    ("file", "reason"),
    [("silence.wav", "silence"), ("short.wav", "too short"), ("bad.wav", "unreadable"), ("empty.wav", "unreadable")],
)
def test_what_cannot_be_answered_is_said_in_words(analyser, recordings, file, reason):
    answer = analyser.analyse(str(recordings / file))
    assert answer["reason"] == reason
    assert file in answer["error"]
    assert str(recordings) not in answer["error"]  # where the server keeps files is nobody's business
    assert REFUSALS[reason][0] in answer_html(answer)


def test_nothing_recorded_is_said_in_words(analyser):
    assert analyser.analyse(None)["reason"] == "nothing"
    assert "Record" in answer_html(analyser.analyse(None))


def test_limits_are_told_when_hit_and_before_anything_is_decoded(analyser, recordings, tmp_path):
    strict = replace(analyser, limits=Limits(megabytes=1, seconds=10))
    answer = strict.analyse(str(recordings / "long.flac"))
    assert answer["reason"] == "too long"
    assert "10" in answer["error"]
    soundfile.write(tmp_path / "large.wav", np.zeros((200_000, 4)), 48_000)
    answer = strict.analyse(str(tmp_path / "large.wav"))
    assert answer["reason"] == "too large"
    assert "1 MB" in answer["error"]


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
    assert "Both models hear" in answer_html(answer | {"agree": True})
    assert "disagree" in answer_html(answer | {"agree": False})


def test_names_of_files_are_no_html(analyser, recordings, tmp_path):
    for source in ("clip.wav", "bad.wav"):
        path = tmp_path / "<img src=x onerror=alert(1)>.wav"
        path.write_bytes((recordings / source).read_bytes())
        assert "<img" not in answer_html(analyser.analyse(str(path)))


def test_timeline_is_drawn_for_what_is_longer_than_a_window(analyser, recordings):
    assert not has_timeline(analyser.analyse(str(recordings / "clip.wav")))
    assert not has_timeline(analyser.analyse(str(recordings / "bad.wav")))
    answer = analyser.analyse(str(recordings / "long.flac"))
    assert has_timeline(answer)
    figure = timeline_figure(answer)
    assert len(figure.data) == 2 * len(LABELS)
    for trace in figure.data:
        assert list(trace.x) == sorted(trace.x)
        assert all(0 <= time <= answer["duration"] for time in trace.x)
    model = np.array([trace.y for trace in figure.data[: len(LABELS)]])
    totals = model.sum(axis=0)
    # Every moment is either heard, and sums to 1, or silence, and is empty; here one stretch inside is silence.
    assert np.all(np.isclose(totals, 1, atol=1e-4) | (totals == 0))
    assert np.flatnonzero(totals == 0)[0] < len(totals) - 1


def test_api_returns_the_answer_as_json(client, analyser, recordings):
    answer = client.predict(handle_file(str(recordings / "clip.wav")), api_name="/analyze")
    assert answer == analyser.analyse(str(recordings / "clip.wav"))


def test_api_refuses_in_words(client, recordings):
    answer = client.predict(handle_file(str(recordings / "bad.wav")), api_name="/analyze")
    assert answer["reason"] == "unreadable"
    assert "bad.wav" in answer["error"]


def test_api_has_no_other_endpoint(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/analyze"]


def test_api_answers_many_clients_at_once(client, analyser, recordings):
    jobs = [
        client.submit(handle_file(str(recordings / name)), api_name="/analyze")
        for name in ["clip.wav", "silence.wav", "bad.wav"] * 4
    ]
    answers = [job.result(timeout=120) for job in jobs]
    expected = [analyser.analyse(str(recordings / name)) for name in ["clip.wav", "silence.wav", "bad.wav"]]
    assert answers == expected * 4


def test_page_fetches_nothing_from_elsewhere(address):
    page = urllib.request.urlopen(address).read().decode()
    for host in ("googleapis", "gstatic", "cdnjs"):
        assert host not in page.split("<body")[0].replace('rel="preconnect"', "")


def test_environment_names_the_models_and_arguments_win(monkeypatch):
    monkeypatch.setenv("SER_HF_MODEL", "someone/model")
    monkeypatch.setenv("SER_HF_BASELINE", "someone/baseline")
    assert build_parser().parse_args([]).model == "someone/model"
    arguments = build_parser().parse_args(["--model", "other/model"])
    assert (arguments.model, arguments.baseline) == ("other/model", "someone/baseline")


def test_absent_model_is_said_in_words(capsys):
    assert main(["--model", "models/absent"]) == 2
    assert "models/absent" in capsys.readouterr().err


@pytest.mark.slow
def test_server_starts_by_its_path_and_ends_cleanly_when_terminated(model_folders):
    model, baseline = map(str, model_folders)
    command = [sys.executable, "app/app.py", "--model", model, "--baseline", baseline, "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        line = next(line for line in process.stdout if "Listening on" in line)
        address = line.split("Listening on ")[1].split()[0]
        assert urllib.request.urlopen(address).status == 200
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in rest


def test_warm_up_answers_with_both_models(analyser, monkeypatch):
    heard = []
    for classifier in (analyser.model, analyser.baseline):
        monkeypatch.setattr(classifier, "predict", lambda source, name=classifier.name: heard.append(name))
    Analyser(analyser.model, analyser.baseline).warm_up()
    assert heard == [analyser.model.name, analyser.baseline.name]


def test_clip_that_clips_is_told(analyser, tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.clip(make_clip("angry") * 30, -1, 1), SAMPLE_RATE)
    answer = analyser.analyse(str(tmp_path / "loud.wav"))
    assert "clipped" in answer_html(answer).lower()
