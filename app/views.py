"""What the page shows: HTML for a prediction, and the texts around it."""

from __future__ import annotations

from html import escape

from app.analysis import Answer, Explanation
from app.elements import bars, emotion, model_name, percent, refusal, top, warnings
from app.limits import Limits
from app.plots import counted_most, describe
from ser_hf.streaming import HEARD_SECONDS

TITLE = "What does this voice express?"
INTRO = (
    "Two models classify the <em>acted</em> expression of a voice: a neural network, and a baseline on engineered "
    "features such as pitch and loudness. Each shows its label, its confidence and what drove it. Neither knows what a "
    "person feels."
)
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


def header_html() -> str:
    """The page's name and what it does."""
    return f'<header class="ser-header"><h1>{TITLE}</h1><p>{INTRO}</p></header>'


def reasons_html(answer: Answer, explanation: Explanation) -> str:
    """What drove the predictions, in words."""
    return (
        f'<p class="ser-note">{escape(describe(answer))}</p>'
        '<div class="ser-cards ser-reasons"><section class="ser-card"><h3>What drove the network</h3>'
        f"<p>{_decisive(answer, explanation)}</p></section>"
        f'<section class="ser-card"><h3>What is unusual about this voice</h3>{_unusual(explanation)}</section></div>'
    )


def _decisive(answer: Answer, explanation: Explanation) -> str:
    most = counted_most(explanation.stretches)
    label = emotion(answer["model"]["label"])
    if most is None:
        return f"On no stretch by itself: whichever is silenced, {label} stays about as likely."
    where = " in the window around it" if len(answer["model"]["timeline"]) > 1 else ""
    return (
        f"The stretch from {most['start']:.1f} to {most['end']:.1f} s counted most: when it is silenced, {label} goes "
        f"from {percent(most['complete'])} to {percent(most['without'])}{where}."
    )


def _unusual(explanation: Explanation) -> str:
    if not explanation.standouts:
        return "<p>Nothing that a listener could name: pitch, loudness and rate are as in most training clips.</p>"
    items = "".join(f"<li>{escape(one['words'][0].upper() + one['words'][1:])}</li>" for one in explanation.standouts)
    return (
        f"<p>Compared with the training clips of the baseline:</p><ul class='ser-list'>{items}</ul>"
        "<p class='ser-note'>These are a few of many features; which of them decided is not known.</p>"
    )


def answer_html(answer: Answer) -> str:
    """A prediction, or why there is none, as a self-contained piece of the page."""
    if "error" in answer:
        title, advice = REFUSALS[answer["reason"]]
        return refusal(title, answer["error"], advice)
    cards = "".join(
        _card(title, answer[part]) for title, part in (("Neural network", "model"), ("Baseline", "baseline"))
    )
    return (
        f'<div class="ser-answer" role="status">{_verdict(answer)}{warnings(answer["warnings"])}'
        f'<div class="ser-cards">{cards}</div></div>'
    )


def _verdict(answer: Answer) -> str:
    model, baseline = answer["model"], answer["baseline"]
    label, beside = emotion(model["label"]), emotion(baseline["label"])
    kind = "ser-agree" if answer["agree"] else "ser-disagree"
    if not model["confident"]:
        text, kind = f"Low confidence: {label} is the network's closest label", "ser-unsure"
        text += f". The baseline predicts {beside}" if baseline["confident"] else ". The baseline's is low, too"
    elif answer["agree"]:
        text = f"Both models predict {label}"
    elif baseline["confident"]:
        text = f"The models disagree: the network predicts {label}, the baseline {beside}"
    else:
        text = f"The network predicts {label}. The baseline has low confidence: {beside} is closest"
    length = f"{answer['duration']:.1f} s"
    return f'<p class="ser-verdict {kind}">{text} <span class="ser-file">{escape(answer["file"])}, {length}</span></p>'


def _card(title: str, part: Answer) -> str:
    label, scores = part["label"], part["scores"]
    return (
        f'<section class="ser-card" aria-label="{escape(title)}"><h3>{escape(title)} '
        f"<small>{escape(model_name(part['name']))}</small></h3>"
        f"{top(label, scores[label], part['confident'])}{bars(scores, label)}{warnings(part['warnings'])}</section>"
    )
