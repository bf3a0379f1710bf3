"""How many hostile and odd inputs hold: by the command, by the page's function and by its API, with tiny models.

Examples:

    python -m tests.hostile
    python -m tests.hostile --doors command,page

Exit status: 0 if every input held, else 1.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

# Before anything is imported that reads them.
os.environ |= {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import numpy as np

from app.analysis import Analyser
from ser_hf.classifier import EmotionClassifier
from ser_hf.command_line import CommandParser
from tests.hostile.doors import Said, by_api, by_command, by_page, complaint, made, rights_for
from tests.hostile.table import Input, table
from tests.hostile.usage import Usage, resident
from tests.tiny_models import save_tiny_svm, save_tiny_whisper

DOORS = ("command", "page", "api")
MOST_MEGABYTES = 500
Door = Callable[[Input, str], Said]


def main(argv: Sequence[str] | None = None) -> int:
    """Send every input through every door and print what held; returns 1 if anything did not."""
    wanted = build_parser().parse_args(argv).doors.split(",")
    inputs = table()
    with open_doors(wanted) as (doors, analyser):
        idle, most_seconds = resident(), 60.0 * analyser.limits.batch_minutes
        complaints, peak, longest = [], (0.0, ""), (0.0, "")
        for one in inputs:
            with made(one) as path:
                for name, door in doors.items():
                    with Usage(idle) as usage, rights_for(one):
                        try:
                            trouble = complaint(one, name, door(one, path))
                        except Exception as error:
                            trouble = f"raises {error!r}"
                    peak = max(peak, (usage.megabytes, f"{one.name}, {name}"))
                    longest = max(longest, (usage.seconds, f"{one.name}, {name}"))
                    if usage.megabytes > MOST_MEGABYTES:
                        trouble = trouble or f"takes {usage.megabytes:.0f} MB"
                    if usage.seconds > most_seconds:
                        trouble = trouble or f"takes {usage.seconds:.0f} s"
                    if trouble:
                        complaints.append(f"{one.name}, {name}: {trouble}")
    tried = len(inputs) * len(doors)
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"inputs: {len(inputs)}, doors: {', '.join(doors)}")
    print(f"tried: {tried}, held: {tried - len(complaints)}")
    print(f"most memory above idle: {peak[0]:.0f} MB ({peak[1]}); allowed: {MOST_MEGABYTES}")
    print(f"longest: {longest[0]:.1f} s ({longest[1]}); allowed: {most_seconds:.0f}")
    return 1 if complaints else 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.hostile", doc=__doc__)
    parser.add_argument("--doors", metavar="NAMES", default=",".join(DOORS), help="which, separated by commas")
    return parser


@contextlib.contextmanager
def open_doors(wanted: Sequence[str]) -> Iterator[tuple[dict[str, Door], Analyser]]:
    """The doors of these names, with models that are warm."""
    with tempfile.TemporaryDirectory(prefix="ser_hf-models-") as folder, contextlib.ExitStack() as stack:
        model, baseline = save_tiny_whisper(Path(folder, "model")), save_tiny_svm(Path(folder, "baseline"))
        analyser = Analyser(EmotionClassifier.from_pretrained(model), EmotionClassifier.from_pretrained(baseline))
        analyser.warm_up()
        # The command loads its model anew each time, which is not what is measured here.
        load = mock.Mock(return_value=analyser.model)
        stack.enter_context(mock.patch.object(EmotionClassifier, "from_pretrained", load))
        list(analyser.model.predict_many([np.random.default_rng(0).uniform(-0.1, 0.1, 80_000)] * 16))
        doors: dict[str, Door] = {
            "command": lambda one, path: by_command(path, str(model)),
            "page": lambda one, path: by_page(path, analyser),
        }
        if "api" in wanted:
            from gradio_client import Client

            from app.app import launch
            from app.page import build
            from tests.app.browser import free_port

            page = build(lambda: analyser, analyser.limits)
            address = launch(page, analyser.limits, port=free_port())
            client = Client(address, verbose=False, analytics_enabled=False)
            stack.callback(page.close, verbose=False)
            stack.callback(client.close)
            doors["api"] = lambda one, path: by_api(one, path, client)
        yield {name: doors[name] for name in wanted}, analyser


if __name__ == "__main__":
    sys.exit(main())
