"""The pieces that every part of the page shares: an emotion's chip, its word, its bar, a list of warnings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from ser_hf.marks import EMOTION_COLORS, EMOTION_SYMBOLS

OTHER_COLOR, OTHER_SYMBOL = "#777777", "?"  # of a label that is none of ours, in another model


COMMIT = re.compile(r"@[0-9a-f]{40}$")


def model_name(name: str) -> str:
    """What a model is called in a heading: without the forty digits of a commit on the Hub, which the answer holds."""
    return COMMIT.sub("", name)


def emotion(label: str) -> str:
    """An emotion's chip and word."""
    return f'<span class="ser-emotion">{chip(label)}{escape(label)}</span>'


def chip(label: str) -> str:
    """The emotion's symbol on its colour; the word stands beside it, so that it need not be read aloud."""
    background = color(label)
    return (
        f'<span class="ser-chip" aria-hidden="true" style="background:{background};color:{ink(background)}">'
        f"{symbol(label)}</span>"
    )


def bar(label: str, score: float, top: bool) -> str:
    """One row of a list of probabilities; ``score`` is in [0, 1]."""
    return (
        f'<li class="{"ser-first" if top else ""}"><span class="ser-label">{chip(label)}{escape(label)}</span>'
        f'<span class="ser-track"><span style="width:{100 * score:.1f}%;background:{color(label)}"></span></span>'
        f'<span class="ser-share">{percent(score)}</span></li>'
    )


def bars(scores: dict[str, float], top: str) -> str:
    """A list of probabilities, each in [0, 1], with the label ``top`` in bold."""
    return f'<ul class="ser-bars">{"".join(bar(name, score, name == top) for name, score in scores.items())}</ul>'


def top(label: str, score: float, confident: bool) -> str:
    """The predicted label and its probability in [0, 1], with a word before it where the confidence is low."""
    closest = "" if confident else '<small class="ser-closest">Low confidence:</small> '
    return f'<p class="ser-top">{closest}{emotion(label)} <b>{percent(score)}</b></p>'


def warnings(sentences: Iterable[str]) -> str:
    """A list of warnings, or nothing."""
    items = "".join(f"<li>{escape(sentence[0].upper() + sentence[1:])}.</li>" for sentence in sentences)
    return f'<ul class="ser-warnings" aria-label="Warnings">{items}</ul>' if items else ""


def refusal(title: str, *sentences: str) -> str:
    """Why there is no prediction."""
    details = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences if sentence)
    return f'<div class="ser-refusal" role="status"><h3>{escape(title)}</h3>{details}</div>'


def percent(share: float) -> str:
    """A share in [0, 1] as it is read."""
    return f"{100 * share:.0f} %"


def color(label: str) -> str:
    """The emotion's colour, #RRGGBB."""
    return EMOTION_COLORS.get(label, OTHER_COLOR)


def symbol(label: str) -> str:
    """The emotion's symbol; the variation selector keeps browsers from drawing an emoji instead."""
    return f"{EMOTION_SYMBOLS.get(label, OTHER_SYMBOL)}\ufe0e"


def ink(background: str) -> str:
    """Black or white, whichever stands out more from a #RRGGBB colour (WCAG 2.2 relative luminance)."""
    channels = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
