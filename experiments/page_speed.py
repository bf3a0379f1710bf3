"""The waits of a visitor of the page, and 100 requests from ten clients at once: a table of `experiments.speed`."""

from __future__ import annotations

import base64
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

from experiments.measuring import Table
from tests.app.browser import find_chromium, launch_chromium, resident_megabytes, served_page
from train.common import UsageError

CLIENTS, REQUESTS = 10, 100

# A microphone that is silent until `speak` is called, which notes when its first sound is played.
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


def measure(clip: Path, rounds: int) -> Table:
    """Seconds and megabytes, each in words.

    Raises:
        UsageError: there is no Chromium.
    """
    if find_chromium() is None:
        raise UsageError("Chromium is needed (on Debian: apt-get install chromium)")
    rows = []
    with served_page() as (address, process, start_up), sync_playwright() as playwright:
        rows.append(["start: until the page is there", f"{start_up:.1f} s"])
        rows.append(["first clip", f"{_visit(address, clip, 1)[0]:.1f} s"])
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        uploads = [_upload(page, clip) for _ in range(rounds)]
        rows.append(["page: from the choice of a file to its prediction", _spread(uploads)])
        page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(SILENT_MICROPHONE)
        page.goto(address)
        rows.append(
            ["live: from the first sound to the first prediction", _spread([_speak(page, clip) for _ in range(rounds)])]
        )
        browser.close()
        memory = [resident_megabytes(process.pid)]
        for which in ("first", "second"):  # the first starts threads and fills their memory pools
            start = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                answers = list(pool.map(lambda _: _visit(address, clip, REQUESTS // CLIENTS)[1], range(CLIENTS)))
            seconds, wrong = time.perf_counter() - start, sum(one != answers[0] for one in answers)
            memory.append(resident_megabytes(process.pid))
            name = f"{REQUESTS} requests from {CLIENTS} clients at once, {which} time"
            rows.append([name, f"{seconds:.1f} s, {wrong} clients with other predictions"])
        rows.append(["memory of the page before, between and after", ", ".join(f"{size:.0f} MB" for size in memory)])
    text = f"In a headless Chromium, with which the page shares the cores: a clip of 4 s, {rounds} rounds."
    return Table("The page", text, ["what", "figure"], rows)


def _visit(address: str, clip: Path, requests: int) -> tuple[float, list]:
    """Seconds and results of some requests of one client."""
    start = time.perf_counter()
    client = Client(address, verbose=False, analytics_enabled=False)
    found = [client.predict(handle_file(str(clip)), api_name="/analyze") for _ in range(requests)]
    return time.perf_counter() - start, found


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
