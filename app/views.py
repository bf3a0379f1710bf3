"""What the page shows: HTML for an answer, and the words around it."""

from __future__ import annotations

from html import escape

from app.analysis import Answer, Limits
from ser_hf.plots import EMOTION_COLORS, EMOTION_SYMBOLS

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
        details = f"<p>{escape(answer['error'])}</p>" + (f"<p>{escape(advice)}</p>" if advice else "")
        return f'<div class="ser-refusal" role="status"><h3>{escape(title)}</h3>{details}</div>'
    cards = "".join(
        _card(title, answer[part]) for title, part in (("Fine-tuned model", "model"), ("Baseline", "baseline"))
    )
    return (
        f'<div class="ser-answer" role="status">{_verdict(answer)}{_warnings(answer["warnings"])}'
        f'<div class="ser-cards">{cards}</div></div>'
    )


def _verdict(answer: Answer) -> str:
    model, baseline = answer["model"], answer["baseline"]
    if answer["agree"]:
        text = f"Both models hear {_emotion(model['label'])}"
    else:
        text = (
            f"The models disagree: the fine-tuned one hears {_emotion(model['label'])}, "
            f"the baseline {_emotion(baseline['label'])}"
        )
    kind = "ser-agree" if answer["agree"] else "ser-disagree"
    length = f"{answer['duration']:.1f} s"
    return f'<p class="ser-verdict {kind}">{text} <span class="ser-file">{escape(answer["file"])}, {length}</span></p>'


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning[0].upper() + warning[1:])}.</li>" for warning in warnings)
    return f'<ul class="ser-warnings" aria-label="Warnings">{items}</ul>'


def _card(title: str, part: Answer) -> str:
    label, scores = part["label"], part["scores"]
    rows = "".join(_bar(name, score, name == label) for name, score in scores.items())
    return (
        f'<section class="ser-card" aria-label="{escape(title)}"><h3>{escape(title)} '
        f"<small>{escape(part['name'])}</small></h3>"
        f'<p class="ser-top">{_emotion(label)} <b>{100 * scores[label]:.0f} %</b></p>'
        f'<ul class="ser-bars">{rows}</ul>{_warnings(part["warnings"])}</section>'
    )


def _bar(label: str, score: float, top: bool) -> str:
    color = EMOTION_COLORS.get(label, "#777777")
    return (
        f'<li class="{"ser-first" if top else ""}"><span class="ser-label">{_chip(label)}{escape(label)}</span>'
        f'<span class="ser-track"><span style="width:{100 * score:.1f}%;background:{color}"></span></span>'
        f'<span class="ser-share">{100 * score:.0f} %</span></li>'
    )


def _emotion(label: str) -> str:
    return f'<span class="ser-emotion">{_chip(label)}{escape(label)}</span>'


def _chip(label: str) -> str:
    """The emotion's symbol on its colour; the word stands beside it, so that it need not be read aloud."""
    color = EMOTION_COLORS.get(label, "#777777")
    # The variation selector keeps browsers from drawing an emoji instead.
    symbol = f"{EMOTION_SYMBOLS.get(label, '?')}\ufe0e"
    return f'<span class="ser-chip" aria-hidden="true" style="background:{color};color:{_ink(color)}">{symbol}</span>'


def _ink(color: str) -> str:
    """Black or white, whichever stands out more from a #RRGGBB colour (WCAG 2.2 relative luminance)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


CSS = """
/* The width is said outright: beside automatic margins it would follow the content, and Plotly starts at 700 px. */
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
#voice, #timeline { border: 1px solid var(--border-color-primary) !important; border-radius: 12px; }
#timeline { overflow: hidden; } #result .html-container { padding: 0 !important; }
#timeline :is(.xaxislayer-above, .yaxislayer-above, .annotation, .legend) text {
  fill: var(--body-text-color) !important; }
.ser-empty { padding: 3rem 1rem; text-align: center; color: var(--body-text-color-subdued);
  border: 1px dashed var(--border-color-primary); border-radius: 12px; }
.ser-refusal { padding: 1rem 1.25rem; border-radius: 12px; border: 1px solid var(--border-color-primary);
  border-left: 6px solid #E69F00; background: var(--background-fill-secondary); }
.ser-refusal h3 { margin: 0 0 .4rem; font-size: 1.15rem; } .ser-refusal p { margin: .2rem 0; overflow-wrap: anywhere; }
.ser-verdict { margin: 0 0 .75rem; padding: .8rem 1rem; border-radius: 12px; font-size: 1.15rem; line-height: 1.7;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary); }
.ser-agree { border-left: 6px solid #009E73; } .ser-disagree { border-left: 6px solid #E69F00; }
.ser-file { display: block; font-size: .85rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.ser-emotion { white-space: nowrap; font-weight: 600; }
.ser-chip { display: inline-flex; align-items: center; justify-content: center; width: 1.35em; height: 1.35em;
  margin-right: .4em; border-radius: 5px; font-size: .85em; line-height: 1; vertical-align: .08em; flex: none; }
.ser-label { display: flex; align-items: center; }
.ser-warnings { margin: 0 0 .75rem; padding: 0; list-style: none; font-size: .92rem; }
.ser-warnings li { margin: .25rem 0; padding: .45rem .8rem; border-radius: 8px;
  background: color-mix(in srgb, #E69F00 14%, transparent); }
.ser-cards { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); }
.ser-card { padding: 1rem; border-radius: 12px; border: 1px solid var(--border-color-primary);
  background: var(--background-fill-primary); }
.ser-card h3 { margin: 0; font-size: .95rem; font-weight: 600; color: var(--body-text-color); }
.ser-card h3 small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: .35rem; }
.ser-top { margin: .35rem 0 .8rem; font-size: 1.6rem; line-height: 1.3; } .ser-top b { margin-left: .3rem; }
.ser-bars { margin: 0 0 .4rem; padding: 0; list-style: none; }
.ser-bars li { display: grid; grid-template-columns: 7.2rem 1fr 3rem; align-items: center; gap: .5rem; margin: .28rem 0;
  font-size: .92rem; } .ser-bars .ser-first { font-weight: 700; }
.ser-track { height: .85rem; border-radius: 5px; background: var(--border-color-primary); overflow: hidden; }
.ser-track span { display: block; height: 100%; min-width: 2px; }
.ser-share { text-align: right; font-variant-numeric: tabular-nums; }
"""
