"""How long the page makes people wait, and what many visitors at once do to it. Needs Chromium.

Examples:

    python -m benchmarks.page
    python -m benchmarks.page --rounds 3
"""

from __future__ import annotations

import base64
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

from benchmarks.inputs import CLIP_SECONDS, clip_file
from benchmarks.tables import Settings, Table, main, table_parser
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.command_line import CommandParser
from tests.app.browser import find_chromium, launch_chromium, resident_megabytes, served_page

CLIENTS, REQUESTS = 10, 100

# A microphone in which nothing is heard until `speak` is called; it then notes when the first sound is played.
SILENT_MICROPHONE = """
navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext();
  const destination = context.createMediaStreamDestination();
  const hum = context.createConstantSource();
  const silence = context.createGain();
  silence.gain.value = 0;
  hum.connect(silence).connect(destination);
  hum.start();
  window.speak = async (wav) => {
    const bytes = Uint8Array.from(atob(wav), (character) => character.charCodeAt(0));
    const voice = context.createBufferSource();
    voice.buffer = await context.decodeAudioData(bytes.buffer);
    voice.connect(destination);
    window.answered = null;
    new MutationObserver(() => {
      if (window.answered === null && document.querySelector("#now .ser-now")) window.answered = performance.now();
    }).observe(document.querySelector("#now"), { childList: true, subtree: true });
    window.spoken = performance.now();
    voice.start();
  };
  return destination.stream;
};
"""


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.page", __doc__)


def measure(settings: Settings) -> Table:
    """Seconds and megabytes, each in words."""
    clip, rounds = clip_file(settings.work, ".wav"), settings.rounds
    rows = []
    for name, folder in (("network", DEFAULT_MODEL), ("baseline", DEFAULT_BASELINE)):
        classifier = EmotionClassifier.from_pretrained(folder)
        classifier.predict(clip)
        rows.append((f"{name}, a clip of 4 s from its file", _seconds(lambda c=classifier: c.predict(clip), rounds)))
    with served_page() as (address, process, start_up):
        rows.append(("start: until the page is there", f"{start_up:.1f} s"))
        start = time.perf_counter()
        Client(address, verbose=False, analytics_enabled=False).predict(handle_file(str(clip)), api_name="/analyze")
        rows.append(("start: until a first clip is answered", f"{start_up + time.perf_counter() - start:.1f} s"))
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            uploads = [_upload(page, clip) for _ in range(rounds)]
            rows.append(("page: from the choice of a file to its answer", _spread(uploads)))
            page.close()
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(SILENT_MICROPHONE)
            page.goto(address)
            speeches = [_speak(page, clip) for _ in range(rounds)]
            rows.append(("live: from the first sound to the first answer", _spread(speeches)))
            browser.close()
        rows += _load(address, process.pid, clip)
    return Table(
        "The page",
        f"In a headless Chromium, with which the page shares the cores: a clip of {CLIP_SECONDS} s, {rounds} rounds.",
        ["what", "figure"],
        [list(row) for row in rows],
    )


def _seconds(function: Callable[[], object], rounds: int) -> str:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return _spread(times)


def _spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f}"


def _upload(page: Page, clip: Path) -> float:
    chooser = page.locator("#voice input[type=file]")
    if not chooser.count():
        page.locator("#voice").get_by_label("Upload file").click()
        chooser.wait_for(state="attached")
    start = time.perf_counter()
    chooser.set_input_files(clip)
    page.locator("#result .ser-card").first.wait_for()
    seconds = time.perf_counter() - start
    page.locator("#figure .main-svg").first.wait_for()  # its explanation must not weigh on the next round
    page.locator("#voice").get_by_label("Clear").click()
    page.locator("#result .ser-card").first.wait_for(state="detached")
    return seconds


def _speak(page: Page, clip: Path) -> float:
    page.get_by_role("tab", name="Live").click()
    page.locator("#microphone .record-button").first.click()
    page.locator("#now .ser-state").wait_for()
    page.evaluate("speak", base64.b64encode(clip.read_bytes()).decode())
    page.wait_for_function("window.answered !== null")
    seconds = page.evaluate("(window.answered - window.spoken) / 1000")
    page.reload()
    return seconds


def _load(address: str, pid: int, clip: Path) -> list[tuple[str, str]]:
    """100 requests from 10 clients at once, twice; what they are answered, and the memory of the page before and after.

    The first round starts threads and fills their memory pools; what the second adds is what is not given back.
    """
    clients = [Client(address, verbose=False, analytics_enabled=False) for _ in range(CLIENTS)]
    expected = clients[0].predict(handle_file(str(clip)), api_name="/analyze")
    rows, memory = [], [resident_megabytes(pid)]
    for which in ("first", "second"):
        wrong: list[object] = []

        def visit(client: Client, wrong: list[object] = wrong) -> None:
            for _ in range(REQUESTS // CLIENTS):
                answer = client.predict(handle_file(str(clip)), api_name="/analyze")
                if answer != expected:
                    wrong.append(answer)

        start = time.perf_counter()
        threads = [threading.Thread(target=visit, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        memory.append(resident_megabytes(pid))
        name = f"{REQUESTS} requests from {CLIENTS} clients at once, {which} time"
        rows.append((name, f"{seconds:.1f} s, {len(wrong)} wrong"))
    return [*rows, ("memory of the page before, between and after", ", ".join(f"{size:.0f} MB" for size in memory))]


if __name__ == "__main__":
    if find_chromium() is None:
        sys.exit("Chromium is needed (on Debian: apt-get install chromium)")
    sys.exit(main(measure))
