"""The page: four tabs, and the API's endpoints ``/analyze`` and ``/batch``."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio import processing_utils

from app import live, views
from app.about import Described, about_html
from app.analysis import OUT_OF_MEMORY, Analyser, Answer, is_out_of_memory
from app.batch import Batch, batch_html, run_batch, write_csv
from app.examples import examples
from app.guard import log_failure
from app.limits import Limits
from app.plots import recording_figure

NOT_USABLE = (
    "This request needs a recording that was uploaded to this page and is not deleted yet. "
    "The API is described at /?view=api."
)
BROKEN = "Something went wrong on the page, and its operator can see what. Try it with another recording."

CSV = "emotions.csv"
FORMATS = ["audio", "video/mp4", "video/webm", "application/zip", ".zip"]
# Gradio looks for ffmpeg, and then asks ffprobe of the examples: where the first came alone, no page would be built.
processing_utils.ffmpeg_installed = lambda: bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


class Page(gr.Blocks):
    """Blocks that say what is wrong: Gradio's own keep it from the visitor, and print a traceback for the operator."""

    async def preprocess_data(self, block_fn, inputs, *args, **named):
        """As of Gradio, but in words, and no address is fetched."""
        try:
            if names_an_address(inputs):
                raise ValueError("an address")
            return await super().preprocess_data(block_fn, inputs, *args, **named)
        except (gr.Error, MemoryError):
            raise
        except Exception as error:
            raise gr.Error(NOT_USABLE, print_exception=False) from error

    async def process_api(self, *args, **named):
        """As of Gradio, but in words."""
        try:
            return await super().process_api(*args, **named)
        except gr.Error:
            raise
        except Exception as error:
            log_failure("a request", error)
            words = OUT_OF_MEMORY if is_out_of_memory(error) else BROKEN
            raise gr.Error(words, print_exception=False) from error


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
    # Uploaded voices are deleted when they are `keep_seconds` old; it is looked for as often.
    with Page(
        title=views.TITLE, analytics_enabled=False, delete_cache=(limits.keep_seconds, limits.keep_seconds)
    ) as page:
        gr.HTML(views.HEADER, elem_id="header", padding=False)
        loading = gr.HTML(views.LOADING, visible=False, elem_id="loading", padding=False)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Analyse", id="analyse"):
                _analyse(ready, limits)
            with gr.Tab("Live", id="live"):
                _live(ready, limits)
            with gr.Tab("Batch", id="batch"):
                _batch(ready, limits)
            with gr.Tab("About", id="about"):
                about = gr.HTML(elem_id="about", padding=False)

        def greet():
            return gr.HTML(visible=is_loading())

        def describe():
            analyser = ready()
            model, baseline = (
                Described(part.name, part.metrics, tuple(part.trained_on))
                for part in (analyser.model, analyser.baseline)
            )
            return about_html(model, baseline, views.limits_note(limits)), gr.HTML(visible=False)

        private = {"api_visibility": "private", "show_progress": "hidden"}
        page.load(greet, None, loading, queue=False, **private).then(describe, None, [about, loading], **private)
    # Nobody passes the queue, whose limits would hold for the others alone.
    return page.queue(max_size=limits.queue, default_concurrency_limit=limits.at_once, api_open=False)


def _analyse(ready: Callable[[], Analyser], limits: Limits) -> None:
    """One recording: both predictions, the figure, and what drove them."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            audio = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                label="Recording",
                elem_id="voice",
                editable=False,
                buttons=[],
            )
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
            # Else Gradio deletes the examples, too, when they are as old as voices may become.
            audio.keep_in_cache.update(audio.temp_files)
            gr.HTML(f'<p class="ser-note">{views.limits_note(limits)}</p>', padding=False)
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(views.PLACEHOLDER, elem_id="result", padding=False)
    with gr.Column(visible=False, elem_id="details") as details:
        figure = gr.Plot(show_label=False, elem_id="figure")
        reasons = gr.HTML(elem_id="reasons", padding=False)
    with gr.Accordion("The result as data", open=False):
        answer = gr.JSON(label="JSON, as the API's /analyze returns it", elem_id="answer")

    def analyze(audio: str | None) -> Answer:
        return ready().analyse(audio)

    def explain(audio: str | None, answer: Answer):
        if not audio or "error" in answer:
            return gr.Column(visible=False), None, ""
        explanation = ready().explain(audio, answer)
        drawn = recording_figure(explanation.recording.samples, answer, explanation.stretches)
        return gr.Column(visible=True), drawn, views.reasons_html(answer, explanation)

    # What the page shows is drawn from what the API returns; the explanation takes longer than the answer, and follows.
    def follow(listener: Callable, **api: str) -> None:
        answered = listener(analyze, audio, answer, show_progress_on=[result], concurrency_id="analysis", **api)
        answered.success(views.answer_html, answer, result, api_visibility="private", show_progress="hidden").success(
            explain,
            [audio, answer],
            [details, figure, reasons],
            api_visibility="private",
            show_progress="hidden",
            concurrency_id="analysis",
        )

    def clear():
        return None, views.PLACEHOLDER, gr.Column(visible=False)

    follow(button.click, api_name="analyze", api_description=views.ANALYZE_API)
    for listener in (audio.upload, audio.stop_recording, chosen.load_input_event.success):
        follow(listener, api_visibility="private")
    audio.clear(clear, None, [answer, result, details], api_visibility="private", show_progress="hidden", queue=False)


def _live(ready: Callable[[], Analyser], limits: Limits) -> None:
    """A microphone that streams: the answer follows the voice."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            microphone = gr.Audio(
                sources=["microphone"],
                type="filepath",
                streaming=True,
                label="Your microphone",
                elem_id="microphone",
                editable=False,
                buttons=[],
            )
            gr.HTML(f'<p class="ser-note">{views.live_note(limits)}</p>', padding=False)
        with gr.Column(scale=3, min_width=320):
            now = gr.HTML(live.WAITING, elem_id="now", padding=False)
    # One object for each visitor, changed in place: what a late piece of sound returns cannot undo a stop.
    listening = gr.State(None, time_to_live=limits.keep_seconds)
    private = {"api_visibility": "private", "show_progress": "hidden"}

    def start():
        return live.start(ready().model)

    def hear(chunk: str | None, listening: live.Listening | None):
        return live.hear(listening, chunk, limits.live_seconds) or gr.skip()

    def stop(listening: live.Listening | None):
        return live.stop(listening, limits.live_seconds)

    microphone.start_recording(start, None, listening, queue=False, **private)
    microphone.stream(
        hear,
        [microphone, listening],
        now,
        stream_every=live.STEP_SECONDS,
        # After this a place is given to who waits for one; `hear` itself has stopped before.
        time_limit=limits.live_seconds + 10,
        concurrency_id="live",
        concurrency_limit=limits.live_at_once,
        **private,
    )
    gr.on([microphone.stop_recording, microphone.clear], stop, listening, now, queue=False, **private)


def _batch(ready: Callable[[], Analyser], limits: Limits) -> None:
    """Many recordings: one row each, and a file of them."""
    files = gr.File(
        file_count="multiple", file_types=FORMATS, label="Recordings, or zip archives of them", elem_id="files"
    )
    gr.HTML(f'<p class="ser-note">{views.batch_note(limits)}</p>', padding=False)
    button = gr.Button("Analyse all", variant="primary", size="lg", elem_id="batch-button")
    table = gr.HTML(elem_id="table", padding=False)
    download = gr.DownloadButton("Download as CSV", visible=False, elem_id="download")
    rows = gr.JSON(visible=False)

    def batch(files: list[str] | None, progress=gr.Progress()) -> Batch:  # noqa: B008 (how Gradio makes a bar)
        return run_batch(
            ready(), files, lambda done, total, name: progress((done, total), desc=name, unit="recordings")
        )

    def show(rows: Batch):
        if not rows["rows"]:
            return batch_html(rows), gr.DownloadButton(visible=False)
        # In the folder of uploads, which is emptied by age.
        path = Path(download.GRADIO_CACHE) / secrets.token_hex(16) / CSV
        path.parent.mkdir(parents=True)
        write_csv(rows, ready().model.labels, path)
        return batch_html(rows), gr.DownloadButton(value=str(path), visible=True)

    button.click(
        batch,
        files,
        rows,
        api_name="batch",
        api_description=views.BATCH_API,
        show_progress_on=[table],
        concurrency_id="analysis",
    ).success(show, rows, [table, download], api_visibility="private", show_progress="hidden")
