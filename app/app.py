"""The demo: a page that says what a voice expresses, by two models side by side.

python -m app.app [--model DIR|HUB_ID] [--baseline DIR|HUB_ID] [--host H] [--port P]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

if __package__ in (None, ""):  # run by its path, as a Hugging Face Space does
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Before gradio is imported: the page must work without a network, and tell nobody who visits it.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from app.analysis import Analyser
from app.limits import Limits
from app.page import build
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.models import ModelError

HOST, PORT = "127.0.0.1", 7860
STYLES = sorted(Path(__file__).parent.glob("*.css"))
SCRIPT = Path(__file__).with_name("upload.js")


def launch(page: gr.Blocks, limits: Limits, host: str = HOST, port: int = PORT) -> str:
    """Serve the page in threads of its own until ``page.close()``; returns its address.

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
        head=f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>",
        prevent_thread_lock=True,
    )
    return address


def main(argv: Sequence[str] | None = None) -> int:
    """Load both models, warm them up and serve the page; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    # A terminated server ends as an interrupted one does: Gradio closes its sockets, and the exit status is 0.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        limits = Limits.from_environment()
        with _own_uploads():
            _serve(arguments, limits)
    except (ModelError, ValueError, OSError) as error:  # a limit that is none, the port is taken
        print(f"The page cannot start: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _serve(arguments: argparse.Namespace, limits: Limits) -> None:
    """Serve the page until it is interrupted. It is there before the models, and its first visitors wait for them."""
    analyser: Future[Analyser] = Future()
    page = build(analyser.result, limits, is_loading=lambda: not analyser.done())
    address = launch(page, limits, arguments.host, arguments.port)
    print(f"Loading {arguments.model} and {arguments.baseline}", flush=True)
    try:
        loaded = Analyser(
            EmotionClassifier.from_pretrained(arguments.model, precision="auto"),
            EmotionClassifier.from_pretrained(arguments.baseline),
            limits,
        )
        loaded.warm_up()
    except BaseException as error:
        analyser.set_exception(error)  # so that nobody waits for ever
        page.close(verbose=False)
        raise
    analyser.set_result(loaded)
    print(f"Listening on {address} (Ctrl+C ends it)", flush=True)
    page.block_thread()


@contextlib.contextmanager
def _own_uploads() -> Iterator[None]:
    """A folder for this page's uploads alone, gone with the page: Gradio leaves them behind when visitors are there."""
    parent = os.environ.get("GRADIO_TEMP_DIR")
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ser_hf-voices-", dir=parent, ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield


def build_parser() -> argparse.ArgumentParser:
    """The command line; its defaults come from the environment, then from the bundled models."""
    environment = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m app.app", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        metavar="DIR|HUB_ID",
        default=environment("SER_HF_MODEL") or DEFAULT_MODEL,
        help="the model that answers (default: $SER_HF_MODEL, else models/ser-whisper)",
    )
    parser.add_argument(
        "--baseline",
        metavar="DIR|HUB_ID",
        default=environment("SER_HF_BASELINE") or DEFAULT_BASELINE,
        help="the model beside it (default: $SER_HF_BASELINE, else models/ser-svm)",
    )
    parser.add_argument("--host", default=environment("GRADIO_SERVER_NAME") or HOST, help=f"default: {HOST}")
    parser.add_argument("--port", type=int, default=environment("GRADIO_SERVER_PORT") or PORT, help=f"default: {PORT}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
