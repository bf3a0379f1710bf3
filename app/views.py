"""What the page shows: texts, and HTML from the templates in ``templates/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from app.analysis import Answer, Explanation
from app.limits import Limits
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS
from ser_hf.streaming import HEARD_SECONDS

TEMPLATES = Path(__file__).parent / "templates"
PARTS = {"model": "Neural network", "baseline": "Baseline"}  # of an answer
OTHER_COLOR, OTHER_SYMBOL = "#777777", "?"  # of a label that is none of ours, in another model
COUNTS = 0.2  # nats, from 50 to 55 %: a stretch whose silence costs the prediction less is not pointed at

TITLE = "What does this voice express?"
ANALYZE_API = (
    "Predicts the emotion of one recording. Returns file, duration (s), warnings, agree and, for model and baseline "
    "each, name, window_seconds, label, confident (whether the probability reaches the threshold), scores (label to "
    "probability), warnings and timeline (start, end, label, scores); or file, reason and error for a recording that "
    "is refused."
)
BATCH_API = (
    "Predicts many recordings, or zip archives of them. Returns rows, answered, failed and seconds; a row has file, "
    "label, confidence, confident, scores, baseline, baseline_confidence, baseline_confident, baseline_scores, agree, "
    "duration (s) and warnings, or file, reason and error."
)
REFUSALS = {
    "nothing": ("No recording yet", ""),
    "silence": ("This is silence", "Check that the microphone is the right one and not muted."),
    "too short": ("This is too short", "Say a whole sentence: two to five seconds work best."),
    "too long": ("This is too long", "Cut out the part that you want to know about."),
    "too large": (
        "This file is too large",
        "Cut out the part that you want to know about, or use a compressed format.",
    ),
    "out of memory": ("There is no room for this now", ""),
    "unreadable": ("This cannot be read as sound", "Any common audio format will do: wav, mp3, flac, ogg, m4a, webm."),
}
HEADER = (
    f'<header class="ser-header"><h1>{TITLE}</h1><p>Two models classify the <em>acted</em> expression of a voice: a '
    "neural network, and a baseline on engineered features such as pitch and loudness. Each shows its label, its "
    "confidence and what drove it. Neither knows what a person feels.</p></header>"
)
LOADING = (
    '<p class="ser-loading" role="status">The models are still loading. Choose a recording already: it is analysed '
    "as soon as they are there.</p>"
)
PLACEHOLDER = '<div class="ser-empty">The result appears here.</div>'


def limits_note(limits: Limits) -> str:
    """What a visitor should know before sending a voice."""
    return (
        f"Up to {limits.megabytes} MB or {limits.seconds // 60} minutes. Recordings are used for the prediction "
        f"alone, and are deleted within {2 * limits.keep_seconds // 60} minutes."
    )


def live_note(limits: Limits) -> str:
    """What a visitor should know before opening the microphone."""
    return (
        f"The network predicts the last {HEARD_SECONDS:g} seconds, twice a second, until you stop it or "
        f"{limits.live_seconds} seconds are over. Each piece of sound is deleted once it is processed."
    )


def batch_note(limits: Limits) -> str:
    """What one batch may hold."""
    return (
        f"Up to {limits.batch_files} recordings, {limits.batch_megabytes} MB and {limits.batch_minutes} minutes of "
        f"work at a time; {limits.megabytes} MB or {limits.seconds // 60} minutes each. They are deleted within "
        f"{2 * limits.keep_seconds // 60} minutes."
    )


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


def model_name(name: str) -> str:
    """What a model is called in a heading: without the forty digits of a commit on the Hub, which the answer holds."""
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


def refusal(title: str, *texts: str) -> str:
    """Why there is no prediction."""
    return render("refusal.html", title=title, texts=texts)


def answer_html(answer: Answer) -> str:
    """A prediction, or why there is none."""
    if "error" in answer:
        title, advice = REFUSALS[answer["reason"]]
        return refusal(title, answer["error"], advice)
    return render("answer.html", answer=answer, parts=PARTS)


def reasons_html(answer: Answer, explanation: Explanation) -> str:
    """What the figure shows, for those who do not see it, and what drove the predictions, in words."""
    most = counted_most(explanation.stretches)
    timeline = has_timeline(answer)
    return render("reasons.html", answer=answer, timeline=timeline, most=most, standouts=explanation.standouts)


def has_timeline(answer: Answer) -> bool:
    """Whether a model was run on more than one window of the recording."""
    return any(len(answer[part]["timeline"]) > 1 for part in PARTS)


def counted_most(stretches: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The stretch that is the strongest evidence for the predicted label, if one is to be pointed at."""
    most = max(stretches, key=lambda stretch: stretch["evidence"], default=None)
    return most if most is not None and most["evidence"] >= COUNTS else None
