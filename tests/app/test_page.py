"""The page's API, through the client that others use."""

import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
from gradio_client import Client, handle_file

from app.app import launch
from app.batch import run_batch
from app.limits import Limits
from app.page import build
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
