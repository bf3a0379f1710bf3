"""Take the pictures of the page: README's two, or every tab in both themes and both widths. Needs Chromium.

Examples:

    python -m docs.screenshots
    python -m docs.screenshots --all --output runs/pictures
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from app.examples import Example, examples
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.command_line import CommandParser
from tests.app.browser import find_chromium, launch_chromium, served_page

WIDTHS = {"desktop": 1280, "phone": 390}
THEMES = ("light", "dark")
LIVE_SECONDS = 5
COLORS = 256  # of a committed picture: a third of the size


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pictures; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    if find_chromium() is None:
        print("Chromium is needed (on Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    wanted = (
        list(product(TABS, THEMES, WIDTHS))
        if arguments.all
        else [("changing", "light", "desktop"), ("analyse", "dark", "phone")]
    )
    longest = max(examples(), key=lambda clip: clip.path.stat().st_size).path
    with tempfile.TemporaryDirectory() as folder, served_page() as (address, *_), sync_playwright() as playwright:
        voice = Path(folder) / "voice.wav"
        soundfile.write(voice, load_audio(longest), SAMPLE_RATE)
        browser = launch_chromium(playwright, microphone=voice)
        for tab, theme, width in wanted:
            name = f"page-{tab}-{theme}-{width}.png" if arguments.all else f"page-{width}.png"
            take(browser, address, tab, theme, WIDTHS[width], arguments.output / name)
        browser.close()
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m docs.screenshots", doc=__doc__)
    parser.add_argument("--all", action="store_true", help="every tab, theme and width, not README's two alone")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path(__file__).parent,
        help="folder that is written (default: docs)",
    )
    return parser


def take(browser: Browser, address: str, tab: str, theme: str, width: int, path: Path) -> None:
    """Open the page again, do what the tab is for, and write a picture of the whole of it."""
    page = browser.new_page(viewport={"width": width, "height": 844}, device_scale_factor=1.5)
    page.goto(f"{address}?__theme={theme}")
    page.locator("#analyse-button").wait_for()
    TABS[tab](page)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # what fades in has done so
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)
    page.close()


def _analyse(page: Page) -> None:
    _try(page, examples()[1])


def _changing(page: Page) -> None:
    _try(page, max(examples(), key=lambda clip: clip.path.stat().st_size))


def _try(page: Page, clip: Example) -> None:
    page.locator("#examples").get_by_text(clip.title, exact=True).click()
    page.locator("#figure .main-svg").first.wait_for()


def _refused(page: Page) -> None:
    page.locator("#analyse-button").click()
    page.locator(".ser-refusal").wait_for()


def _live(page: Page) -> None:
    page.get_by_role("tab", name="Live").click()
    page.locator("#microphone .record-button").first.click()
    page.locator("#now .ser-course").wait_for()
    page.wait_for_timeout(1000 * LIVE_SECONDS)


def _batch(page: Page) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#files input[type=file]", [clip.path for clip in examples()])
    page.locator("#files").get_by_text(examples()[-1].path.stem).first.wait_for()
    page.locator("#batch-button").click()
    page.locator(".ser-table").wait_for()


def _about(page: Page) -> None:
    page.get_by_role("tab", name="About").click()
    page.locator(".ser-about").first.wait_for()


TABS: dict[str, Callable[[Page], None]] = {
    "analyse": _analyse,
    "changing": _changing,
    "refused": _refused,
    "live": _live,
    "batch": _batch,
    "about": _about,
}

if __name__ == "__main__":
    sys.exit(main())
