"""What the page shows: HTML for an answer, and the words around it."""

from __future__ import annotations

from html import escape

from app.analysis import Answer
from app.elements import bars, emotion, percent, refusal, warnings
from app.limits import Limits

TITLE = "What does this voice express?"
INTRO = (
    "Record a sentence or upload a clip. Two models listen: a **fine-tuned Whisper encoder**, and a **baseline** of "
    "engineered features and a support vector machine. Each says which of eight acted emotions it hears, and how sure "
    "it is."
)
ABOUT = """
**What this is.** The models learned from 24 professional actors who spoke two English sentences with eight
expressions ([RAVDESS](https://doi.org/10.5281/zenodo.1188976)). They tell *acted or perceived expression*: which of
these eight portrayals a voice resembles most.

**What this is not.** It cannot know what a person feels. Other languages, accents, ages, rooms and microphones than
the actors' make it worse, and it answers anything that sounds, speech or not.

**Do not use it on people at work or in schools.** The EU AI Act forbids inferring emotions there (Art. 5(1)(f)), and
asks that people be told wherever else such a system hears them (Art. 50(3)).
"""
REFUSALS = {
    "nothing": ("Nothing to hear yet", ""),
    "silence": ("This is silence", "Check that the microphone is the right one and not muted."),
    "too short": ("This is too short", "Say a whole sentence: two to five seconds work best."),
    "too long": ("This is too long", "Cut out the part that you want to know about."),
    "too large": (
        "This file is too large",
        "Cut out the part that you want to know about, or use a compressed format.",
    ),
    "unreadable": ("This cannot be read as sound", "Any common audio format will do: wav, mp3, flac, ogg, m4a, webm."),
}
PLACEHOLDER = '<div class="ser-empty">The answer appears here.</div>'


def limits_note(limits: Limits) -> str:
    """What a visitor should know before sending a voice."""
    return (
        f"Up to {limits.megabytes} MB or {limits.seconds // 60} minutes. Voices are used for the answer alone: nobody "
        f"else hears them, and they are deleted within {2 * limits.keep_seconds // 60} minutes."
    )


def answer_html(answer: Answer) -> str:
    """An answer, or why there is none, as a self-contained piece of the page."""
    if "error" in answer:
        title, advice = REFUSALS[answer["reason"]]
        return refusal(title, answer["error"], advice)
    cards = "".join(
        _card(title, answer[part]) for title, part in (("Fine-tuned model", "model"), ("Baseline", "baseline"))
    )
    return (
        f'<div class="ser-answer" role="status">{_verdict(answer)}{warnings(answer["warnings"])}'
        f'<div class="ser-cards">{cards}</div></div>'
    )


def _verdict(answer: Answer) -> str:
    model, baseline = answer["model"], answer["baseline"]
    if answer["agree"]:
        text = f"Both models hear {emotion(model['label'])}"
    else:
        text = (
            f"The models disagree: the fine-tuned one hears {emotion(model['label'])}, "
            f"the baseline {emotion(baseline['label'])}"
        )
    kind = "ser-agree" if answer["agree"] else "ser-disagree"
    length = f"{answer['duration']:.1f} s"
    return f'<p class="ser-verdict {kind}">{text} <span class="ser-file">{escape(answer["file"])}, {length}</span></p>'


def _card(title: str, part: Answer) -> str:
    label, scores = part["label"], part["scores"]
    return (
        f'<section class="ser-card" aria-label="{escape(title)}"><h3>{escape(title)} '
        f"<small>{escape(part['name'])}</small></h3>"
        f'<p class="ser-top">{emotion(label)} <b>{percent(scores[label])}</b></p>'
        f"{bars(scores, label)}{warnings(part['warnings'])}</section>"
    )
