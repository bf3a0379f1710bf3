"""The page's API, through the client that others use."""

import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import Mock

import httpx
import pytest
from gradio.queueing import Queue
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.analysis import OUT_OF_MEMORY, Analyser
from app.app import launch
from app.batch import run_batch
from app.examples import examples
from app.limits import Limits
from app.page import BROKEN, build
from ser_hf.classifier import EmotionClassifier
from tests.app.browser import free_port


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    client = Client(address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_api_returns_the_answer_as_json(client, analyser, recordings):
    answer = client.predict(handle_file(str(recordings / "clip.wav")), api_name="/analyze")
    assert answer == analyser.analyse(str(recordings / "clip.wav"))


def test_api_refuses_in_words(client, recordings):
    answer = client.predict(handle_file(str(recordings / "bad.wav")), api_name="/analyze")
    assert answer["reason"] == "unreadable"
    assert "bad.wav" in answer["error"]


def test_it_is_built_where_ffmpeg_came_without_ffprobe(analyser, tmp_path, monkeypatch):
    """Gradio looks for the one and asks the other: the page ended as it began."""
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    build(lambda: analyser, analyser.limits)


def test_page_fetches_nothing_from_elsewhere(address):
    page = urllib.request.urlopen(address).read().decode()
    for host in ("googleapis", "gstatic", "cdnjs"):
        assert host not in page.split("<body")[0].replace('rel="preconnect"', "")


def test_api_answers_a_batch_as_json(client, analyser, recordings):
    files = [str(recordings / name) for name in ("clip.wav", "bad.wav", "silence.wav")]
    answer = client.predict([handle_file(file) for file in files], api_name="/batch")
    assert answer == run_batch(analyser, files)


def test_api_has_two_documented_endpoints(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/analyze", "/batch"]
    for endpoint, keys in (("/analyze", ["scores", "timeline", "reason"]), ("/batch", ["rows", "baseline", "reason"])):
        for key in keys:
            assert key in endpoints[endpoint]["description"], (endpoint, key)


@pytest.mark.slow
def test_a_hundred_requests_from_ten_clients_are_all_answered_rightly(address, analyser, recordings):
    names = ["clip.wav", "silence.wav", "bad.wav", "short.wav", "clip.wav"] * 2
    expected = {name: analyser.analyse(str(recordings / name)) for name in names}
    wrong = []

    def visit():
        client = Client(address, verbose=False, analytics_enabled=False)
        for name in names:
            answer = client.predict(handle_file(str(recordings / name)), api_name="/analyze")
            if answer != expected[name]:
                wrong.append(answer)
        client.close()

    visitors = [threading.Thread(target=visit) for _ in range(10)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert wrong == []


@pytest.mark.parametrize(("error", "words"), [(MemoryError(), OUT_OF_MEMORY), (KeyError("bug"), BROKEN)], ids=repr)
def test_work_that_fails_is_answered_in_words_and_the_next_request_as_ever(
    client, recordings, monkeypatch, capfd, caplog, error, words
):
    clip = handle_file(str(recordings / "clip.wav"))
    with monkeypatch.context() as broken:
        broken.setattr(Analyser, "analyse", Mock(side_effect=error))
        with pytest.raises(AppError, match=re.escape(words)):
            client.predict(clip, api_name="/analyze")
    assert "model" in client.predict(clip, api_name="/analyze")
    assert repr(error) in caplog.text  # where the operator sees it, in one line
    assert "Traceback" not in "".join(capfd.readouterr())


def test_want_of_memory_for_one_recording_costs_a_batch_no_other(client, recordings, monkeypatch):
    predict, calls = EmotionClassifier.predict, iter(range(10))

    def predict_with_luck(self, recording):
        if next(calls) == 0:
            raise MemoryError
        return predict(self, recording)

    monkeypatch.setattr(EmotionClassifier, "predict", predict_with_luck)
    batch = client.predict([handle_file(str(recordings / "clip.wav"))] * 2, api_name="/batch")
    assert [row.get("reason") for row in batch["rows"]] == ["out of memory", None]


def test_no_more_visitors_are_remembered_than_the_limit_says(analyser):
    """Gradio keeps a copy of the page for each session with what was sent last, and each request may name a new one."""
    limits = Limits(sessions=3)
    page = build(lambda: analyser, limits)
    address = launch(page, limits, port=free_port())
    try:
        for number in range(6):
            body = {"data": [None], "fn_index": 0, "session_hash": f"visitor-{number}"}
            assert httpx.post(f"{address}gradio_api/queue/join", json=body, timeout=60).status_code == 200
        assert len(page.app.state_holder.session_data) <= 3
    finally:
        page.close()


def test_no_statistics_are_summed_up_that_nobody_sees(client, recordings, monkeypatch):
    """Each request would take longer than the one before."""
    summed = Mock()
    monkeypatch.setattr(Queue, "_get_df", summed)
    for _ in range(3):
        client.predict(handle_file(str(recordings / "bad.wav")), api_name="/analyze")
    assert not summed.called


def test_a_full_queue_refuses_in_words(analyser, recordings):
    """One at work and one waiting is all that this page takes; the others are told so, and none waits for ever."""
    limits = Limits(queue=1, at_once=1)
    page = build(lambda: replace(analyser, limits=limits), limits)
    address = launch(page, limits, port=free_port())
    client = Client(address, verbose=False, analytics_enabled=False)
    try:
        jobs = [client.submit(handle_file(str(recordings / "long.flac")), api_name="/analyze") for _ in range(12)]
        refused = [str(job.exception(timeout=120)) for job in jobs if job.exception(timeout=120)]
        assert len(refused) < len(jobs)
        assert refused
        assert all("queue" in words.lower() for words in refused), refused
    finally:
        client.close()
        page.close()


def test_examples_outlive_the_voices_of_visitors(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build(lambda: None, Limits())
    names = sorted(clip.path.name for clip in examples())
    assert sorted(path.name for path in tmp_path.rglob("*.flac")) == names
    delete_files_created_by_app(page, age=None)
    assert sorted(path.name for path in tmp_path.rglob("*.flac")) == names
