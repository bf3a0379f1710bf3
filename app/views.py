"""What the page shows: texts, and HTML from the templates in ``templates/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from app.analysis import Explanation, Result
from app.limits import Limits
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS
from ser_hf.streaming import HEARD_SECONDS

TEMPLATES = Path(__file__).parent / "templates"
PARTS = {"model": "Neural network", "baseline": "Baseline"}  # of a result
# Of labels that are none of ours, in other models, in the order in which they are met: Paul Tol's muted colours.
OTHER_COLORS = ("#332288", "#44AA99", "#CC6677", "#999933", "#882255", "#88CCEE", "#117733", "#DDCC77", "#AA4499")
OTHER_SYMBOLS = ("◇", "□", "△", "▽", "☆", "◎", "✚", "◐", "▶")
_OTHERS: dict[str, int] = {}
COUNTS = 0.2  # nats, from 50 to 55 %: a stretch whose silence costs the prediction less is not pointed at

TITLE = "What does this voice express?"
ANALYZE_API = (
    "Predicts the emotion of one recording. Returns file, duration (s), warnings, agree and, for model and baseline "
    "each, name, window_seconds, label, confident (whether the probability reaches the threshold), scores (label to "
    "probability), warnings and timeline (start, end, label, scores); or file, reason and error for a recording that "
    "is refused."
)
BATCH_API = (
    "Predicts many recordings, or zip archives of them. Returns rows, answered, failed, seconds and left_out (what "
    "archives hold besides recordings); a row has file, label, confidence, confident, scores, baseline, "
    "baseline_confidence, baseline_confident, baseline_scores, agree, duration (s) and warnings, or file, reason and "
    "error. one_speaker: all of them are of one person, to whom the models are then adapted."
)
PLACEHOLDER = '<div class="ser-empty">The result appears here.</div>'


def percent(share: float) -> str:
    """A share in [0, 1] as it is read; nothing breaks it into two lines."""
    return f"{100 * share:.0f}\u00a0%"


def color(label: str) -> str:
    """The emotion's colour, #RRGGBB."""
    return EMOTION_COLORS.get(label) or OTHER_COLORS[_other(label)]


def symbol(label: str) -> str:
    """The emotion's symbol; the variation selector keeps browsers from drawing an emoji instead."""
    return f"{EMOTION_SYMBOLS.get(label) or OTHER_SYMBOLS[_other(label)]}\ufe0e"


def _other(label: str) -> int:
    return _OTHERS.setdefault(label, len(_OTHERS)) % len(OTHER_COLORS)


def ink(background: str) -> str:
    """Black or white, whichever stands out more from a #RRGGBB colour (WCAG 2.2 relative luminance)."""
    channels = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def model_name(name: str) -> str:
    """What a model is called in a heading: without the forty digits of a commit on the Hub, which the result holds."""
    return re.sub(r"@[0-9a-f]{40}$", "", name)


def capital(sentence: str) -> str:
    """A sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def length_of(seconds: float) -> str:
    """A length in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if seconds >= 60 else f"{seconds:.1f} s"


def _source(name: str) -> str:
    """A template, in which line breaks beside tags are no spaces: they would be seen between words and symbols."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    return re.sub(r"\n\s*", " ", re.sub(r"(?<=[>}])\n\s*|\n\s*(?=[<{])", "", text.strip()))


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FunctionLoader(_source), autoescape=True, undefined=jinja2.StrictUndefined
)
ENVIRONMENT.filters |= {one.__name__: one for one in (percent, color, symbol, ink, model_name, capital, length_of)}


def render(template: str, **values: Any) -> str:
    """A self-contained piece of the page; what ``values`` hold is escaped."""
    return ENVIRONMENT.get_template(template).render(values)


def note(subject: str, limits: Limits) -> str:
    """What a visitor should know about the limits of "recordings", the "live" tab or a "batch", in plain sentences."""
    return render("note.html", subject=subject, limits=limits, heard_seconds=HEARD_SECONDS)


def failure_html(reason: str, error: str) -> str:
    """Why there is no prediction; ``reason`` is a key of the template's titles."""
    return render("failure.html", reason=reason, error=error)


def result_html(result: Result) -> str:
    """A prediction, or why there is none."""
    if "error" in result:
        return failure_html(result["reason"], result["error"])
    return render("result.html", result=result, parts=PARTS)


def explanation_html(result: Result, explanation: Explanation) -> str:
    """What the figure shows, for those who do not see it, and what drove the predictions, in words."""
    most = counted_most(explanation.stretches)
    timeline = has_timeline(result)
    return render("explanation.html", result=result, timeline=timeline, most=most, standouts=explanation.standouts)


def has_timeline(result: Result) -> bool:
    """Whether a model was run on more than one utterance of the recording."""
    return any(len(result[part]["timeline"]) > 1 for part in PARTS)


def counted_most(stretches: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The stretch that is the strongest evidence for the predicted label, if one is to be pointed at."""
    most = max(stretches, key=lambda stretch: stretch["evidence"], default=None)
    return most if most is not None and most["evidence"] >= COUNTS else None
