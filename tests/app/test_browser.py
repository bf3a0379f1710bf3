"""The page as a person meets it, in a real Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.browser

PATIENCE = 60_000  # ms; a bound for a hang, not a measure of speed


@pytest.fixture(scope="module")
def browser(recordings: Path) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs chromium (on Debian: apt-get install chromium)")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recordings / 'clip.wav'}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(address)
    page.locator("#analyse").wait_for()
    yield page
    page.close()


def upload(page: Page, path: Path) -> None:
    page.locator("#voice input[type=file]").wait_for(state="attached")
    page.set_input_files("#voice input[type=file]", path)
    page.locator("#voice audio, #voice .waveform-container").first.wait_for(state="attached")


def analyse(page: Page) -> None:
    page.locator("#analyse").click()


def test_upload_is_answered_by_both_models(page, recordings, analyser):
    upload(page, recordings / "clip.wav")
    analyse(page)
    expected = analyser.analyse(str(recordings / "clip.wav"))
    expect(page.locator(".ser-card")).to_have_count(2)
    for card, part in zip(page.locator(".ser-card").all(), ("model", "baseline"), strict=True):
        expect(card).to_contain_text(expected[part]["name"])
        expect(card.locator(".ser-top")).to_contain_text(expected[part]["label"])
    expect(page.locator("#timeline")).not_to_be_visible()


def test_long_recording_gets_a_timeline(page, recordings):
    upload(page, recordings / "long.flac")
    analyse(page)
    expect(page.locator("#timeline .main-svg").first).to_be_visible()
    expect(page.locator("#timeline")).to_contain_text("tiny-baseline")
    expect(page.locator(".ser-warnings").first).to_contain_text("windows")


def test_recording_from_the_microphone_is_answered(page):
    page.locator("#voice").get_by_label("Record audio").click()
    page.locator("#voice .record-button").click()
    page.wait_for_timeout(2500)
    page.locator("#voice .stop-button").click()
    page.locator("#voice .waveform-container, #voice audio").first.wait_for(state="attached")
    analyse(page)
    expect(page.locator(".ser-card")).to_have_count(2)
    expect(page.locator(".ser-file")).to_contain_text(" s")


@pytest.mark.parametrize(
    ("file", "words"), [("bad.wav", "cannot be read as sound"), ("silence.wav", "silence"), ("short.wav", "too short")]
)
def test_what_cannot_be_answered_is_said_beside_it(page, recordings, file, words):
    upload(page, recordings / file)
    analyse(page)
    expect(page.locator(".ser-refusal")).to_contain_text(words)


def test_button_without_a_recording_says_what_to_do(page):
    analyse(page)
    expect(page.locator(".ser-refusal")).to_contain_text("Record a sentence")


def test_bad_file_after_a_good_one_takes_its_answer_away(page, recordings):
    upload(page, recordings / "long.flac")
    analyse(page)
    expect(page.locator("#timeline .main-svg").first).to_be_visible()
    page.locator("#voice").get_by_label("Clear").click()
    upload(page, recordings / "bad.wav")
    analyse(page)
    expect(page.locator(".ser-refusal")).to_be_visible()
    expect(page.locator(".ser-card")).to_have_count(0)
    expect(page.locator("#timeline")).not_to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_phone_shows_everything_without_scrolling_sideways_and_nothing_is_fetched_elsewhere(
    browser, address, recordings, theme
):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(PATIENCE)
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(f"{address}?__theme={theme}")
    page.locator("#analyse").wait_for()
    upload(page, recordings / "long.flac")
    analyse(page)
    expect(page.locator("#timeline .main-svg").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".ser-card")).to_have_count(2)
    for selector in ("#voice", ".ser-verdict", ".ser-card", "#timeline .svg-container"):
        box = page.locator(selector).first.bounding_box()
        assert box["x"] >= 0, selector
        assert box["x"] + box["width"] <= 390, selector
    ink = page.locator(".ser-top").first.evaluate("element => getComputedStyle(element).color")
    brightness = sum(map(float, ink.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness > 384) == (theme == "dark"), ink
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
    page.close()
