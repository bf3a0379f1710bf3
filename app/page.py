"""The page: four tabs, and the API's endpoints ``/analyze`` and ``/batch``."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio import processing_utils
from gradio.server_messages import UnexpectedErrorMessage

from app import live, views
from app.about import about_html
from app.analysis import OUT_OF_MEMORY, Analyser, Result, is_out_of_memory
from app.batch import Batch, batch_html, run_batch, write_csv
from app.examples import examples
from app.guard import log_failure
from app.limits import Limits
from app.plots import recording_figure
from ser_hf.utils.recordings import AUDIO_SUFFIXES

NOT_USABLE = (
    "This request needs a recording that was uploaded to this page and is not deleted yet. "
    "The API is described at /?view=api."
)
BROKEN = "Something went wrong on the page, and its operator can see what. Try it with another recording."
CLOSING = "The page is being closed. Try again in some minutes."

CSV = "emotions.csv"
FORMATS = ["audio", *AUDIO_SUFFIXES, ".zip"]  # Gradio knows whole kinds and suffixes, and no media types
AUDIO = {"type": "filepath", "editable": False, "buttons": []}
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
# Gradio looks for ffmpeg, and then asks ffprobe of the examples: where the first came alone, no page would be built.
processing_utils.ffmpeg_installed = lambda: bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


class Page(gr.Blocks):
    """Blocks that say what is wrong: Gradio's own keep it from the visitor, and print a traceback for the operator."""

    loop: asyncio.AbstractEventLoop  # of the server, see `app.app.launch`

    async def preprocess_data(self, block_fn, inputs, *args, **named):
        """As of Gradio, with a message for the visitor, and no address is fetched."""
        try:
            if names_an_address(inputs):
                raise ValueError("an address")
            return await super().preprocess_data(block_fn, inputs, *args, **named)
        except (gr.Error, MemoryError):
            raise
        except Exception as error:
            raise gr.Error(NOT_USABLE, print_exception=False) from error

    async def process_api(self, *args, **named):
        """As of Gradio, with a message for the visitor."""
        try:
            return await super().process_api(*args, **named)
        except gr.Error:
            raise
        except Exception as error:
            log_failure("a request", error)
            message = OUT_OF_MEMORY if is_out_of_memory(error) else BROKEN
            raise gr.Error(message, print_exception=False) from error

    def finish(self, seconds: float) -> None:
        """Accept no more requests, let those there are finish within ``seconds``, and send the rest a message."""
        asyncio.run_coroutine_threadsafe(self._finish(seconds), self.loop).result()

    async def _finish(self, seconds: float) -> None:
        queue, deadline = self._queue, time.monotonic() + seconds
        queue.max_size = 0
        while (len(queue) or any(queue.active_jobs)) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for messages in queue.pending_messages_per_session.values():
            messages.put_nowait(UnexpectedErrorMessage(message=CLOSING))
        await asyncio.sleep(0.2)  # until they are sent: a closed queue sends Gradio's own message instead


def names_an_address(value: object) -> bool:
    """Whether something that a visitor sent names a file that Gradio would fetch from the network."""
    if isinstance(value, dict):
        return "://" in str(value.get("path")) or any(map(names_an_address, value.values()))
    return isinstance(value, list) and any(map(names_an_address, value))


def build(ready: Callable[[], Analyser], limits: Limits, is_loading: Callable[[], bool] = lambda: False) -> Page:
    """The whole page, with its queue.

    Args:
        ready: gives the models, and waits for them while they are loaded: the page is there before them.
        limits: those of the analyser, which the page shows.
        is_loading: whether ``ready`` would wait, which the page then says.
    """
    # Uploads are deleted when they are `keep_seconds` old, which is checked as often.
    with Page(
        title=views.TITLE, analytics_enabled=False, delete_cache=(limits.keep_seconds, limits.keep_seconds)
    ) as page:
        gr.HTML(views.render("header.html", title=views.TITLE), elem_id="header", padding=False)
        loading = gr.HTML(views.render("loading.html"), visible=False, elem_id="loading", padding=False)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Analyse", id="analyse"):
                _analyse_tab(ready, limits)
            with gr.Tab("Live", id="live"):
                _live_tab(ready, limits)
            with gr.Tab("Batch", id="batch"):
                _batch_tab(ready, limits)
            with gr.Tab("About", id="about"):
                about = gr.HTML(elem_id="about", padding=False)

        def show_loading():
            return gr.HTML(visible=is_loading())

        def describe():
            analyser = ready()
            return about_html(analyser.model, analyser.baseline, views.note("recordings", limits)), gr.HTML(
                visible=False
            )

        page.load(show_loading, None, loading, queue=False, **PRIVATE).then(describe, None, [about, loading], **PRIVATE)
    # No request passes by the queue, whose limits would hold for the others alone.
    return page.queue(max_size=limits.queue, default_concurrency_limit=limits.at_once, api_open=False)


def _note(subject: str, limits: Limits) -> gr.HTML:
    return gr.HTML(f'<p class="ser-note">{views.note(subject, limits)}</p>', padding=False)


def _analyse_tab(ready: Callable[[], Analyser], limits: Limits) -> None:
    """One recording: both predictions, the figure, and what drove them."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            audio = gr.Audio(sources=["microphone", "upload"], label="Recording", elem_id="voice", **AUDIO)
            button = gr.Button("Analyse", variant="primary", size="lg", elem_id="analyse-button")
            clips = examples()
            chosen = gr.Examples(
                [[str(clip.path)] for clip in clips],
                audio,
                example_labels=[clip.title for clip in clips],
                label="Or try one of these, made by a speech synthesiser",
                elem_id="examples",
                api_visibility="private",
            )
            # Else Gradio deletes the examples, too, when they are as old as uploads may become.
            audio.keep_in_cache.update(audio.temp_files)
            _note("recordings", limits)
        with gr.Column(scale=3, min_width=320):
            shown = gr.HTML(views.PLACEHOLDER, elem_id="result", padding=False)
    with gr.Column(visible=False, elem_id="details") as details:
        figure = gr.Plot(show_label=False, elem_id="figure")
        explanation = gr.HTML(elem_id="reasons", padding=False)
    with gr.Accordion("The result as data", open=False):
        result = gr.JSON(label="JSON, as the API's /analyze returns it", elem_id="answer")

    def analyze(audio: str | None) -> Result:
        return ready().analyse(audio)

    def explain(audio: str | None, result: Result):
        if not audio or "error" in result:
            return gr.Column(visible=False), None, ""
        explained = ready().explain(audio, result)
        drawn = recording_figure(explained.recording.samples, result, explained.stretches)
        return gr.Column(visible=True), drawn, views.explanation_html(result, explained)

    # What the page shows is drawn from what the API returns; the explanation takes longer, and follows.
    def analyse_on(listener: Callable, **api: str) -> None:
        analysed = listener(analyze, audio, result, show_progress_on=[shown], concurrency_id="analysis", **api)
        analysed.success(views.result_html, result, shown, **PRIVATE).success(
            explain, [audio, result], [details, figure, explanation], concurrency_id="analysis", **PRIVATE
        )

    def clear():
        return None, views.PLACEHOLDER, gr.Column(visible=False)

    analyse_on(button.click, api_name="analyze", api_description=views.ANALYZE_API)
    for listener in (audio.upload, audio.stop_recording, chosen.load_input_event.success):
        analyse_on(listener, api_visibility="private")
    audio.clear(clear, None, [result, shown, details], queue=False, **PRIVATE)


def _live_tab(ready: Callable[[], Analyser], limits: Limits) -> None:
    """A microphone that streams: the prediction follows the voice."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            microphone = gr.Audio(
                sources=["microphone"], streaming=True, label="Your microphone", elem_id="microphone", **AUDIO
            )
            _note("live", limits)
        with gr.Column(scale=3, min_width=320):
            now = gr.HTML(live.WAITING, elem_id="now", padding=False)
    # One object for each visitor, changed in place: what a late piece of sound returns cannot undo a stop.
    listening = gr.State(None, time_to_live=limits.keep_seconds)

    def start():
        return live.start(ready().model)

    def hear(chunk: str | None, listening: live.Listening | None):
        return live.hear(listening, chunk, limits.live_seconds) or gr.skip()

    def stop(listening: live.Listening | None):
        return live.stop(listening, limits.live_seconds)

    microphone.start_recording(start, None, listening, queue=False, **PRIVATE)
    microphone.stream(
        hear,
        [microphone, listening],
        now,
        stream_every=live.STEP_SECONDS,
        # After this a place is given to who waits for one; `hear` itself has stopped before.
        time_limit=limits.live_seconds + 10,
        concurrency_id="live",
        concurrency_limit=limits.live_at_once,
        **PRIVATE,
    )
    gr.on([microphone.stop_recording, microphone.clear], stop, listening, now, queue=False, **PRIVATE)


def _batch_tab(ready: Callable[[], Analyser], limits: Limits) -> None:
    """Many recordings: one row each, and a file of them."""
    files = gr.File(
        file_count="multiple", file_types=FORMATS, label="Recordings, or zip archives of them", elem_id="files"
    )
    one_speaker = gr.Checkbox(
        label="All of these are of one person",
        info="Adapts both models to that voice: more often right if the recordings express a mix of emotions, less "
        "often if most are alike.",
        elem_id="one-speaker",
    )
    _note("batch", limits)
    button = gr.Button("Analyse all", variant="primary", size="lg", elem_id="batch-button")
    table = gr.HTML(elem_id="table", padding=False)
    download = gr.DownloadButton("Download as CSV", visible=False, elem_id="download")
    rows = gr.JSON(visible=False)

    def batch(files: list[str] | None, one_speaker: bool = False, progress=gr.Progress()) -> Batch:  # noqa: B008 (Gradio)
        def report(done: int, total: int, name: str) -> None:
            progress((done, total), desc=name, unit="recordings")

        return run_batch(ready(), files, report, one_speaker=one_speaker)

    def show(rows: Batch):
        if not rows["rows"]:
            return batch_html(rows), gr.DownloadButton(visible=False)
        # In the folder of uploads, which is emptied by age.
        path = Path(download.GRADIO_CACHE) / secrets.token_hex(16) / CSV
        path.parent.mkdir(parents=True)
        write_csv(rows, path)
        return batch_html(rows), gr.DownloadButton(value=str(path), visible=True)

    button.click(
        batch,
        [files, one_speaker],
        rows,
        api_name="batch",
        api_description=views.BATCH_API,
        show_progress_on=[table],
        concurrency_id="analysis",
    ).success(show, rows, [table, download], **PRIVATE)
