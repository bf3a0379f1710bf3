"""The demo: a page that classifies the emotion of a voice, by two models side by side.

Examples:

    python -m app.app
    python -m app.app --model runs/mine/model --baseline ser-svm
    python -m app.app --host 0.0.0.0 --port 8000

What one visitor may ask is set in the environment, as in SER_HF_LIMIT_SECONDS=120 (app/limits.py lists all limits).
Exit status: 0 when it is ended by Ctrl+C or SIGTERM, 2 when it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # what is imported below takes seconds, and has nothing yet to clean up
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
# Before gradio is imported: the page must work without a network, and send no data about its visitors.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Nor does it sum up ten thousand requests at each one, for a monitor that is not served.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware

from app.analysis import Analyser
from app.guard import ENDING, Ending, Guard
from app.limits import Limits
from app.page import build
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.command_line import CommandParser

HOST, PORT = "127.0.0.1", 7860
ENDINGS = (signal.SIGINT, signal.SIGTERM)
# What Docker and others wait for the end is 10 s: this for running requests, up to 5 s for Gradio's server.
GRACE_SECONDS = 4.0
STYLES = sorted(Path(__file__).parent.glob("*.css"))
SCRIPTS = sorted(Path(__file__).parent.glob("*.js"))


def launch(page: gr.Blocks, limits: Limits, host: str = HOST, port: int = PORT, ending: Ending | None = None) -> str:
    """Serve the page in threads of its own until ``page.close()``; returns its address.

    Args:
        page: what `app.page.build` made.
        limits: those that the page was built with.
        host: address to listen on.
        port: port to listen on.
        ending: sends a message to waiting clients when the page ends.

    Raises:
        OSError: the port is taken.
    """
    theme = gr.themes.Soft(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="slate",
        # What the system has: nothing is fetched.
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700")
    uploads = Path(gr.utils.get_upload_folder())

    @contextlib.asynccontextmanager
    async def sweeping(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(uploads, limits.keep_seconds))
        yield
        task.cancel()

    guard = Middleware(Guard, limits=limits, uploads=uploads, ending=ending or Ending())
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        quiet=True,
        max_file_size=f"{limits.megabytes}mb",
        footer_links=["api"],
        run_history=False,  # voices stay nowhere, not in the visitor's browser either
        theme=theme,
        css_paths=STYLES,
        state_session_capacity=limits.sessions,
        enable_monitoring=False,  # else whoever asks for it fills the terminal, and sees how many visitors there are
        app_kwargs={"middleware": [guard], "lifespan": sweeping},
        head="".join(f"<script>{script.read_text(encoding='utf-8')}</script>" for script in SCRIPTS),
        prevent_thread_lock=True,
    )
    return address


async def _sweep(uploads: Path, seconds: int) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(remove_leftovers, uploads, seconds)


def remove_leftovers(uploads: Path, seconds: float) -> None:
    """Remove files of uploads that were interrupted and last written to ``seconds`` ago.

    Gradio deletes those alone that ended, which lie in folders of their own.
    """
    now = time.time()
    for path in uploads.iterdir() if uploads.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and now - path.stat().st_mtime > seconds:
                path.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Load both models, warm them up and serve the page; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    parent = os.environ.get("GRADIO_TEMP_DIR")
    try:
        for number in ENDINGS:
            signal.signal(number, signal.default_int_handler)
        limits = Limits.from_environment()
        if parent:
            Path(parent).mkdir(parents=True, exist_ok=True)
        # A folder for this page's uploads alone, gone with it: Gradio leaves them behind when visitors are there.
        with tempfile.TemporaryDirectory(prefix="ser_hf-voices-", dir=parent, ignore_cleanup_errors=True) as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            _serve(arguments, limits)
    except (ValueError, OSError) as error:  # a limit that is none, a model that is not there, the port is taken
        print(f"The page cannot start: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _serve(arguments: argparse.Namespace, limits: Limits) -> None:
    """Serve the page until it is interrupted. It is there before the models, and its first visitors wait for them."""
    analyser: Future[Analyser] = Future()
    page, ending = build(analyser.result, limits, is_loading=lambda: not analyser.done()), Ending()
    address = launch(page, limits, arguments.host, arguments.port, ending)
    print(f"Loading {arguments.model} and {arguments.baseline}", flush=True)
    try:
        model, baseline = map(EmotionClassifier.from_pretrained, (arguments.model, arguments.baseline))
        loaded = Analyser(model, baseline, limits)
        loaded.warm_up()
        analyser.set_result(loaded)
        print(f"Listening on {address} (Ctrl+C ends it)", flush=True)
        threading.Event().wait()
    finally:
        for number in ENDINGS:  # a second one would end it no sooner, and leave voices behind
            signal.signal(number, signal.SIG_IGN)
        if not analyser.done():  # so that nobody waits for ever
            analyser.set_exception(gr.Error(ENDING, print_exception=False))
        ending.end(GRACE_SECONDS)
        page.close(verbose=False)


def build_parser() -> CommandParser:
    """The command line; its defaults come from the environment, then from the bundled models."""
    parser = CommandParser(prog="python -m app.app", doc=__doc__)
    options: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
        ("--model", "SER_HF_MODEL", DEFAULT_MODEL, {"metavar": "DIR|HUB_ID", "help": "the model that predicts"}),
        ("--baseline", "SER_HF_BASELINE", DEFAULT_BASELINE, {"metavar": "DIR|HUB_ID", "help": "the model beside it"}),
        ("--host", "GRADIO_SERVER_NAME", HOST, {"help": "address to listen on; 0.0.0.0 is all of them"}),
        ("--port", "GRADIO_SERVER_PORT", PORT, {"type": int, "help": "port to listen on"}),
    )
    for option, variable, default, settings in options:
        settings["help"] += f" (default: ${variable}, else {getattr(default, 'name', default)})"
        parser.add_argument(option, default=os.environ.get(variable) or default, **settings)
    return parser


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a request that hangs in a thread would hold up the end until Docker kills
