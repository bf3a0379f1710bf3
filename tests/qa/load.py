"""Many clients at once, and some that hang: what the page answers, refuses and fails at, and how much memory it takes.

Examples:

    python -m tests.qa.load --clients 50 --seconds 120
    python -m tests.qa.load --clients 4 --seconds 10

Two more clients hang on purpose: one sends its upload a byte at a time, one asks for an answer and never reads it. A
page with the bundled models is started for it. Exit status: 0 if every request was answered or refused in words, no
traceback was printed, and memory stayed flat; else 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import soundfile

from ser_hf.audio import SAMPLE_RATE
from ser_hf.command_line import CommandParser
from tests.app.browser import resident_megabytes, served_page
from tests.synthetic import make_clip

PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed
REST_SECONDS = 0.5  # of a client that was refused, as the refusal asks for
BYTE_SECONDS = 0.1
FLAT = 1.1  # memory at the end, beside that in the middle, when every client has been served
OUTCOMES = ("answered", "refused in words", "failed")


@dataclass
class Load:
    """What happened.

    Attributes:
        counts: requests by outcome.
        words: the refusals, and how often each was said.
        failures: what was neither answered nor refused in words.
        seconds: from the upload of each answered request to its answer.
        memory: MB of the page and its children at the start, in the middle and at the end.
        slow: what became of the clients that hang.
        printed: what the page printed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    printed: str = ""

    def holds(self) -> bool:
        """Whether the page did what it promises."""
        flat = self.memory[2] <= FLAT * self.memory[1]
        return not self.failures and flat and "Traceback" not in self.printed and self.counts["answered"] > 0

    def report(self) -> str:
        """The figures, one a line."""
        low, middle, high = (f"{size:.0f}" for size in self.memory)
        lines = [f"{name}: {self.counts[name]}" for name in OUTCOMES]
        lines += [f"  {count} x {words}" for words, count in self.words.most_common()]
        lines += [f"  failed: {failure}" for failure in self.failures[:10]]
        if self.seconds:
            median, worst = statistics.median(self.seconds), max(self.seconds)
            lines.append(f"seconds to an answer, while two clients hang: median {median:.1f}, longest {worst:.1f}")
        lines.append(f"memory of the page at the start, in the middle, at the end: {low}, {middle}, {high} MB")
        lines += [f"hanging client: {one}" for one in self.slow]
        lines.append(f"tracebacks printed by the page: {self.printed.count('Traceback')}")
        return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a page, load it, print what happened; returns 1 if it did not hold."""
    arguments = build_parser().parse_args(argv)
    load = measure(arguments.clients, arguments.seconds)
    print(f"clients: {arguments.clients}, and 2 that hang; seconds: {arguments.seconds:g}")
    print(load.report())
    return 0 if load.holds() else 1


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.qa.load", doc=__doc__)
    parser.add_argument("--clients", type=int, default=50, help="that ask again and again (default: 50)")
    parser.add_argument("--seconds", type=float, default=120, help="after which none asks again (default: 120)")
    return parser


def measure(clients: int, seconds: float, *options: str) -> Load:
    """Load a page that is started with these options."""
    load = Load()
    with tempfile.TemporaryDirectory(prefix="ser_hf-load-") as folder, open(Path(folder, "printed"), "w+") as printed:
        with served_page(*options, stderr=printed) as (address, process, _):
            asyncio.run(_load(load, address, process.pid, clients, seconds))
        printed.seek(0)
        load.printed = printed.read()
    return load


def recordings(folder: Path) -> list[tuple[str, bytes]]:
    """What clients send in turn: voices, silence, no sound, and more than is taken."""
    sent = []
    voices = {"voice.wav": make_clip("happy"), "low.flac": make_clip("sad"), "none.wav": 0 * make_clip("sad")}
    for name, samples in voices.items():
        soundfile.write(folder / name, samples, SAMPLE_RATE)
        sent.append((name, (folder / name).read_bytes()))
    sent.append(("bad.wav", b"this is no sound"))
    return [*sent, *sent, ("large.wav", bytes(27_000_000))]


async def _load(load: Load, address: str, process_id: int, clients: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sent = recordings(Path(folder))
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, limits=httpx.Limits()) as http:
        await _ask(http, *sent[0])  # the models are there
        load.memory.append(resident_megabytes(process_id))
        unread = await _never_read(load, address, http, sent[0])
        dripping = asyncio.create_task(_drip(load, address))
        end = time.monotonic() + seconds
        asking = [asyncio.create_task(_client(load, http, sent, first, end)) for first in range(clients)]
        await asyncio.sleep(seconds / 2)
        load.memory.append(resident_megabytes(process_id))
        await asyncio.gather(*asking)
        load.memory.append(resident_megabytes(process_id))
        unread.close()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def _client(load: Load, http: httpx.AsyncClient, sent: list[tuple[str, bytes]], first: int, end: float) -> None:
    """Asks one after the other, from its first on, until the time is over; at least once."""
    turn = first
    while turn == first or time.monotonic() < end:
        name, content = sent[turn % len(sent)]
        turn += 1
        begun = time.monotonic()
        try:
            outcome, words = await _ask(http, name, content)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            outcome, words = "failed", f"{name}: {error!r}"
        load.counts[outcome] += 1
        if outcome == "answered":
            load.seconds.append(time.monotonic() - begun)
        elif outcome == "failed":
            load.failures.append(words)
        else:
            load.words[words] += 1
            await asyncio.sleep(REST_SECONDS)


async def _ask(http: httpx.AsyncClient, name: str, content: bytes) -> tuple[str, str]:
    """What becomes of one request, and the words of a refusal."""
    uploaded = await http.post("gradio_api/upload", files={"files": (name, content)})
    if uploaded.status_code != 200:
        return _refused(uploaded.text)
    data = [{"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}]
    joined = await http.post("gradio_api/call/analyze", json={"data": data})
    if joined.status_code != 200:
        return _refused(joined.json().get("detail"))
    lines = (await http.get(f"gradio_api/call/analyze/{joined.json()['event_id']}")).text.strip().splitlines()
    said = json.loads(lines[-1].removeprefix("data: "))
    if lines[-2] == "event: complete":
        return ("answered", "") if "model" in said[0] else _refused(said[0].get("error"))
    return _refused(said["error"] if isinstance(said, dict) else said)


def _refused(words: object) -> tuple[str, str]:
    if isinstance(words, str) and " " in words:
        return "refused in words", words
    return "failed", f"no words: {words!r}"


async def _drip(load: Load, address: str) -> None:
    """Sends an upload a byte at a time, for as long as it is let."""
    url, sent = httpx.URL(address), 0
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 1000000\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="slow.wav"\r\n\r\n'
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n{part}".encode())
    try:
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            sent += 1
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(reader.readline(), BYTE_SECONDS)
                load.slow.append(f"refused: {answer.decode().strip()}")
                return
    finally:
        load.slow.append(f"sent {sent} bytes of an upload, one by one")
        writer.close()


async def _never_read(
    load: Load, address: str, http: httpx.AsyncClient, recording: tuple[str, bytes]
) -> asyncio.StreamWriter:
    """Asks for an answer, and reads nothing of it until the connection that is returned is closed."""
    url = httpx.URL(address)
    uploaded = await http.post("gradio_api/upload", files={"files": recording})
    data = [{"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}]
    event = (await http.post("gradio_api/call/analyze", json={"data": data})).json()["event_id"]
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET /gradio_api/call/analyze/{event} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
    load.slow.append("asked for an answer and never read it")
    return writer


if __name__ == "__main__":
    sys.exit(main())
