"""The page as a person meets it, in a real Chromium."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect, sync_playwright

from app.analysis import Analyser
from app.app import launch
from app.page import build
from tests.app.browser import find_chromium, free_port, launch_chromium
from tests.synthetic import encode, make_clip

pytestmark = pytest.mark.browser

PATIENCE = 60_000  # ms; a bound for a hang, not a measure of speed
TABS = ("Analyse", "Live", "Batch", "About")
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser(recordings: Path) -> Iterator[BrowserContext]:
    """A Chromium that hears clip.wav, with one cache for all pages."""
    if find_chromium() is None:
        pytest.skip("needs chromium (on Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright, microphone=recordings / "clip.wav")
        yield browser.new_context()
        browser.close()


def open_page(browser: BrowserContext, address: str, width: int = 1280, theme: str = "light") -> Page:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}?__theme={theme}")
    page.locator("#analyse-button").wait_for()
    return page


@pytest.fixture
def page(browser: BrowserContext, address: str) -> Iterator[Page]:
    page = open_page(browser, address)
    yield page
    page.close()


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def upload(page: Page, path: Path) -> None:
    """Choosing a file is all that it takes."""
    chooser = page.locator("#voice input[type=file]")
    if not chooser.count():
        page.locator("#voice").get_by_label("Upload file").click()
        chooser.wait_for(state="attached")
    chooser.set_input_files(path)


def test_page_waits_for_the_models_and_says_so(browser, analyser, recordings):
    loaded: Future[Analyser] = Future()
    app = build(loaded.result, analyser.limits, is_loading=lambda: not loaded.done())
    address = launch(app, analyser.limits, port=free_port())
    try:
        visits = [open_page(browser, address, width) for width in WIDTHS]
        for page in visits:
            expect(page.locator("#loading")).to_contain_text("still loading")
        upload(visits[0], recordings / "clip.wav")
        loaded.set_result(analyser)
        for page in visits:
            expect(page.locator("#loading")).to_be_hidden()
        expect(visits[0].locator("#result .ser-card")).to_have_count(2)
        for page in visits:
            page.close()
    finally:
        app.close()


def test_upload_shows_both_predictions(page, recordings, analyser):
    upload(page, recordings / "clip.wav")
    expected = analyser.analyse(str(recordings / "clip.wav"))
    cards = page.locator("#result .ser-card")
    expect(cards).to_have_count(2)
    for card, part in zip(cards.all(), ("model", "baseline"), strict=True):
        expect(card).to_contain_text(expected[part]["name"])
        expect(card.locator(".ser-top")).to_contain_text(expected[part]["label"])
    expect(page.locator("#figure .main-svg").first).to_be_visible()
    expect(page.locator("#reasons")).to_contain_text("What drove the network")
    expect(page.locator("#figure")).not_to_contain_text("tiny-svm")  # as the title of a timeline


def test_upload_takes_what_browsers_record(page, tmp_path):
    path = tmp_path / "browser.webm"
    path.write_bytes(encode(make_clip("happy", sample_rate=48_000), "webm", "libopus", 48_000))
    upload(page, path)
    expect(page.locator("#result .ser-card")).to_have_count(2)


def test_upload_takes_a_dropped_recording(page):
    upload_tab = page.locator("#voice").get_by_label("Upload file")
    upload_tab.click()
    content = list(encode(make_clip("happy", sample_rate=48_000), "webm", "libopus", 48_000))
    dropped = page.evaluate_handle(
        """(content) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dropped.webm", { type: "video/webm" }));
            return transfer;
        }""",
        content,
    )
    page.locator("#voice input[type=file]").wait_for(state="attached")
    page.locator("#voice button:has(input[type=file])").dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.locator("#result .ser-file")).to_contain_text("dropped.webm")


def test_hovering_a_timeline_shows_the_moment(page, recordings):
    upload(page, recordings / "long.flac")
    figure = page.locator("#figure")
    expect(figure.locator(".main-svg").first).to_be_visible()
    expect(figure).to_contain_text("tiny-svm")
    expect(page.locator("#result .ser-warnings").first).to_contain_text("utterances")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".main-svg").first.bounding_box()
    page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 0.55 * box["height"])
    page.mouse.move(box["x"] + 0.36 * box["width"], box["y"] + 0.6 * box["height"])
    expect(figure.locator(".hoverlayer")).to_contain_text("happy")
    expect(figure.locator(".hoverlayer")).to_contain_text("%")


def test_microphone_is_analysed_when_it_stops(page):
    page.locator("#voice .record-button").click()
    page.wait_for_timeout(2500)
    page.locator("#voice .stop-button").click()
    expect(page.locator("#result .ser-card")).to_have_count(2)
    expect(page.locator("#result .ser-file")).to_contain_text(" s")


def test_bad_file_replaces_the_result_of_a_good_one(page, recordings):
    upload(page, recordings / "long.flac")
    expect(page.locator("#figure .main-svg").first).to_be_visible()
    page.locator("#voice").get_by_label("Clear").click()
    expect(page.locator("#result")).to_contain_text("The result appears here")
    expect(page.locator("#figure")).not_to_be_visible()
    upload(page, recordings / "bad.wav")
    expect(page.locator(".ser-refusal")).to_be_visible()
    expect(page.locator("#result .ser-card")).to_have_count(0)
    expect(page.locator("#figure")).not_to_be_visible()


def test_keyboard_alone_reaches_a_prediction(page, analyser):
    button = page.locator("#examples button").first
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    else:
        pytest.fail("the examples cannot be reached by the keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#result .ser-card")).to_have_count(2)


def test_live_follows_the_microphone_until_it_stops(page):
    open_tab(page, "Live")
    page.locator("#microphone .record-button").first.click()
    expect(page.locator("#now .ser-course")).to_be_visible()
    expect(page.locator("#now .ser-course > span")).not_to_have_count(1)
    # What else goes wrong on the page, such as a lost connection, ends no recording.
    page.evaluate("void Promise.reject(new TypeError('Failed to fetch'))")
    page.wait_for_timeout(200)
    assert page.locator("#microphone .stop-button").first.is_visible()
    page.locator("#microphone").get_by_role("button", name="Stop").click()
    expect(page.locator("#now .ser-state")).to_contain_text("stopped")
    page.wait_for_timeout(500)  # what was on its way has arrived
    shown = page.locator("#now").inner_html()
    page.wait_for_timeout(1000)  # two pieces would have arrived
    assert page.locator("#now").inner_html() == shown


def test_live_waits_for_a_recorder_that_arrives_late(page):
    """Gradio shows its button before the recorder has arrived, and a click meanwhile seems to record and does not."""
    held: list[Route] = []
    line = {"slow": True}
    page.route("**/assets/module-*.js", lambda route: held.append(route) if line["slow"] else route.continue_())
    with page.expect_request("**/assets/module-*.js"):
        open_tab(page, "Live")
    page.locator("#microphone .record-button").first.click()
    page.wait_for_timeout(2000)  # what was clicked has run, and was tried again
    line["slow"] = False
    for route in held:
        route.continue_()
    expect(page.locator("#now .ser-course")).to_be_visible()


def test_batch_shows_and_downloads_its_rows(page, recordings, tmp_path):
    archive = tmp_path / "voices.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(recordings / "clip.wav", "inner/clip.wav")
    open_tab(page, "Batch")
    page.set_input_files("#files input[type=file]", [recordings / "clip.wav", recordings / "bad.wav", archive])
    expect(page.locator("#files")).to_contain_text("voices")
    page.locator("#batch-button").click()
    expect(page.locator(".ser-table tbody tr")).to_have_count(3)
    expect(page.locator(".ser-table .ser-refused")).to_contain_text("bad.wav")
    with page.expect_download() as download:
        page.locator("#download").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["clip.wav", "bad.wav", "voices.zip/inner/clip.wav"]
    assert rows[0]["label"] == rows[2]["label"] != ""
    assert rows[1]["error"]
    assert download.value.suggested_filename.endswith(".csv")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_tabs_fit_width_and_theme_and_fetch_nothing(browser, address, recordings, theme, width):
    elsewhere: list[str] = []
    browser.on("request", lambda request: elsewhere.append(request.url))
    page = open_page(browser, address, width, theme)
    upload(page, recordings / "long.flac")
    expect(page.locator("#figure .main-svg").first).to_be_visible()
    for tab in TABS:
        open_tab(page, tab)
        page.wait_for_timeout(300)  # the tab's content is laid out
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        ink = page.locator(".ser-header h1").evaluate("element => getComputedStyle(element).color")
        brightness = sum(map(float, re.findall(r"[\d.]+", ink)[:3]))
        assert (brightness > 384) == (theme == "dark"), ink
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
    page.close()
