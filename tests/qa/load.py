"""Many clients at once, and some that hang: what the page answers, refuses and fails at, and how much memory it takes.

Examples:

    python -m tests.qa.load --clients 50 --seconds 120
    python -m tests.qa.load --clients 4 --seconds 10

Two more clients hang on purpose: one sends its upload a byte at a time, one asks for an answer and never reads it. A
page with the bundled models is started for it. Exit status: 0 if every request was answered or refused in words, no
traceback was printed, and memory stayed flat; else 1.
"""

from __future__ import annotations

import itertools
import json
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from ser_hf.command_line import CommandParser
from tests.app.browser import resident_megabytes, served_page
from tests.app.http_requests import client_of, file_at, message_of, submit, upload
from tests.synthetic import as_file, make_clip

REST_SECONDS = 0.5  # of a client that was refused, as the refusal asks for
BYTE_SECONDS = 0.1
FLAT = 1.1  # memory at the end, beside that in the middle, when every client has been served


@dataclass
class Load:
    """What happened.

    Attributes:
        words: the refusals, and how often each was said.
        failures: what was neither answered nor refused in words.
        seconds: from the upload of each answered request to its answer.
        memory: MB of the page and its children at the start, in the middle and at the end.
        slow: what became of the clients that hang.
        printed: what the page printed.
    """

    words: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    printed: str = ""

    def holds(self) -> bool:
        """Whether the page did what it promises."""
        flat = self.memory[2] <= FLAT * self.memory[1]
        return not self.failures and flat and "Traceback" not in self.printed and bool(self.seconds)

    def report(self) -> str:
        """The figures, one a line."""
        low, middle, high = (f"{size:.0f}" for size in self.memory)
        lines = [f"answered: {len(self.seconds)}", f"refused in words: {self.words.total()}"]
        lines += [f"  {count} x {words}" for words, count in self.words.most_common()]
        lines += [f"failed: {len(self.failures)}", *(f"  {failure}" for failure in self.failures[:10])]
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
    load, sent = Load(), recordings()
    with tempfile.TemporaryFile("w+") as printed:
        with served_page(*options, stderr=printed) as (address, process, _), client_of(address) as http:
            ask(http, *sent[0])  # the models are there
            load.memory.append(resident_megabytes(process.pid))
            with http.stream("GET", submit(http, upload(http, *sent[0]).json()[0])):
                load.slow.append("asked for an answer and never read it")
                end = time.monotonic() + seconds
                with ThreadPoolExecutor(clients + 1) as pool:
                    dripping = pool.submit(drip, address, end)
                    asking = [pool.submit(client, load, http, sent, first, end) for first in range(clients)]
                    time.sleep(seconds / 2)
                    load.memory.append(resident_megabytes(process.pid))
                    for one in asking:
                        one.result()
                load.memory.append(resident_megabytes(process.pid))
                load.slow.append(dripping.result())
        printed.seek(0)
        load.printed = printed.read()
    return load


def recordings() -> list[tuple[str, bytes]]:
    """What clients send in turn: voices, silence, no sound, and more than is taken."""
    voice, low = make_clip("happy"), make_clip("sad")
    sent = [("voice.wav", as_file(voice)), ("low.flac", as_file(low, "FLAC")), ("none.wav", as_file(0 * low))]
    sent.append(("bad.wav", b"this is no sound"))
    return [*sent, *sent, ("large.wav", bytes(27_000_000))]


def client(load: Load, http: httpx.Client, sent: list[tuple[str, bytes]], first: int, end: float) -> None:
    """Asks one after the other, from its first on, until the time is over; at least once."""
    for turn in itertools.count(first):
        name, content = sent[turn % len(sent)]
        begun = time.monotonic()
        try:
            words = ask(http, name, content)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            load.failures.append(f"{name}: {error!r}")
        else:
            if words is None:
                load.seconds.append(time.monotonic() - begun)
            elif " " in words:
                load.words[words] += 1
                time.sleep(REST_SECONDS)
            else:
                load.failures.append(f"{name}: no words: {words!r}")
        if time.monotonic() >= end:
            return


def ask(http: httpx.Client, name: str, content: bytes) -> str | None:
    """The words of the refusal of one request, or None where it was answered."""
    uploaded = upload(http, name, content)
    if uploaded.status_code != 200:
        return message_of(uploaded)
    joined = http.post("gradio_api/call/analyze", json={"data": [file_at(uploaded.json()[0])]})
    if joined.status_code != 200:
        return message_of(joined)
    event, data = http.get(f"gradio_api/call/analyze/{joined.json()['event_id']}").text.strip().splitlines()[-2:]
    said = json.loads(data.removeprefix("data: "))
    if event == "event: complete":
        return None if "model" in said[0] else said[0]["error"]
    return said["error"] if isinstance(said, dict) else str(said)


def drip(address: str, end: float) -> str:
    """Sends an upload a byte at a time, for as long as it is let; returns what became of it."""
    url = httpx.URL(address)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 1000000\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="slow.wav"\r\n\r\n'
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n{part}".encode())
        connection.settimeout(BYTE_SECONDS)
        for sent in itertools.count():
            try:
                connection.sendall(b"x")
                return f"sent {sent} bytes of an upload, one by one; refused: {connection.recv(100).splitlines()[:1]}"
            except TimeoutError:
                if time.monotonic() >= end:
                    return f"sent {sent} bytes of an upload, one by one"
            except ConnectionError:
                return f"sent {sent} bytes of an upload, one by one, until the connection was closed"


if __name__ == "__main__":
    sys.exit(main())
