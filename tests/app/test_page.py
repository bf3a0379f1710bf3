"""The page's API, through the client that others use."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from gradio.queueing import Queue
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.analysis import OUT_OF_MEMORY, Analyser
from app.batch import run_batch
from app.examples import examples
from app.limits import Limits
from app.page import BROKEN, CLOSING, build
from tests.app.http_requests import file_at, first_lines, served, submit, upload


@contextmanager
def client_of(address: str) -> Iterator[Client]:
    client = Client(address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with client_of(address) as client:
        yield client


def test_api_returns_results_and_batches_as_json(client, analyser, recordings):
    files = [str(recordings / name) for name in ("clip.wav", "bad.wav", "silence.wav")]
    for file in files:
        assert client.predict(handle_file(file), api_name="/analyze") == analyser.analyse(file)
    assert client.predict(list(map(handle_file, files)), api_name="/batch") == run_batch(analyser, files)


def test_api_documents_its_two_endpoints(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/analyze", "/batch"]
    for endpoint, keys in (("/analyze", ["scores", "timeline", "reason"]), ("/batch", ["rows", "baseline", "reason"])):
        assert all(key in endpoints[endpoint]["description"] for key in keys)


def test_api_reports_an_upload_that_was_deleted(http):
    (path,) = upload(http, "clip.wav", b"gone").json()
    Path(path).unlink()
    assert "clip.wav: there is no such file" in http.get(submit(http, path)).text


def test_page_is_built_without_ffprobe(analyser, tmp_path, monkeypatch):
    """Gradio looks for ffmpeg and asks ffprobe: the page ended as it began."""
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    build(lambda: analyser, analyser.limits)


@pytest.mark.parametrize(("error", "words"), [(MemoryError(), OUT_OF_MEMORY), (KeyError("bug"), BROKEN)], ids=repr)
def test_page_survives_a_failure(client, recordings, monkeypatch, capfd, caplog, error, words):
    clip = handle_file(str(recordings / "clip.wav"))
    with monkeypatch.context() as broken:
        broken.setattr(Analyser, "analyse", Mock(side_effect=error))
        with pytest.raises(AppError, match=re.escape(words)):
            client.predict(clip, api_name="/analyze")
    assert "model" in client.predict(clip, api_name="/analyze")
    assert repr(error) in caplog.text  # where the operator sees it, in one line
    assert "Traceback" not in "".join(capfd.readouterr())


def test_page_remembers_no_more_visitors_than_its_limit(analyser):
    """Gradio keeps a copy of the page for each session with what was sent last, and each request may name a new one."""
    with served(analyser, Limits(sessions=3)) as (page, address):
        for number in range(6):
            body = {"data": [None], "fn_index": 0, "session_hash": f"visitor-{number}"}
            assert httpx.post(f"{address}gradio_api/queue/join", json=body, timeout=60).status_code == 200
        assert len(page.app.state_holder.session_data) <= 3


def test_page_sums_up_no_statistics(client, recordings, monkeypatch):
    """Each request would take longer than the one before, for a monitor that is not served."""
    summed = Mock()
    monkeypatch.setattr(Queue, "_get_df", summed)
    for _ in range(3):
        client.predict(handle_file(str(recordings / "bad.wav")), api_name="/analyze")
    assert not summed.called


@pytest.fixture
def held(analyser, monkeypatch) -> Iterator[threading.Event]:
    """Predictions that wait for an event."""
    let, analyse = threading.Event(), Analyser.analyse
    monkeypatch.setattr(Analyser, "analyse", lambda self, path: let.wait(60) and analyse(self, path))
    yield let
    let.set()


def test_full_queue_refuses_with_a_message(analyser, recordings, held):
    """One at work and one waiting is all that this page takes."""
    with served(analyser, Limits(queue=1, at_once=1)) as (_, address), client_of(address) as client:
        jobs = [client.submit(handle_file(str(recordings / "clip.wav")), api_name="/analyze") for _ in range(6)]
        wait(jobs, timeout=60, return_when=FIRST_COMPLETED)
        held.set()
        refused = [str(error) for job in jobs if (error := job.exception(timeout=60))]
    assert 0 < len(refused) < len(jobs)
    assert all("queue" in words.lower() for words in refused), refused


@pytest.mark.parametrize("in_time", [True, False])
def test_finish_lets_requests_finish_and_tells_the_rest(analyser, recordings, held, in_time):
    with served(analyser, Limits(at_once=1)) as (page, address), httpx.Client(base_url=address, timeout=60) as http:
        (path,) = upload(http, "clip.wav", (recordings / "clip.wav").read_bytes()).json()
        waiting = [submit(http, path) for _ in range(3)]
        with ThreadPoolExecutor() as pool:
            responses = [pool.submit(first_lines, http, path, 2) for path in waiting]
            if in_time:
                held.set()
            page.finish(60 if in_time else 0.5)
            held.set()
            for response in responses:
                event, data = response.result(timeout=60)
                assert event == f"event: {'complete' if in_time else 'error'}"
                assert in_time or CLOSING in data
            body = {"data": [file_at(path)]}
            assert http.post("gradio_api/call/analyze", json=body).status_code == 503


def test_examples_outlive_the_voices_of_visitors(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build(lambda: None, Limits())
    delete_files_created_by_app(page, age=None)
    assert sorted(path.name for path in tmp_path.rglob("*.flac")) == sorted(clip.file for clip in examples())
