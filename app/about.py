"""The tab about the models: how often each is right, by its own ``metrics.json``, and what they must not be used for.

What a ``metrics.json`` lacks, or has in another shape, is left out part by part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from app.about_figures import calibration, confusion, spread
from app.elements import model_name
from app.measured import Metrics, as_dict, as_list, calibration_bins, confusion_counts, count, groups, interval, share
from ser_hf.marks import GENDER_NAMES
from ser_hf.protocols import PROTOCOLS

CONFUSION_TEXT = (
    "Rows: what the actors expressed. Columns: what was predicted, in per cent of the row's clips. Right ones are bold."
)
SPREAD_TEXT = "Each mark is one speaker: the accuracy on the speaker's clips."
CALIBRATION_TEXT = "Of the predictions of a calibrated model that have 70 % confidence, 70 % are right."
DIAGRAM_TEXT = (
    " Each dot stands for predictions of about the same confidence, the larger the more there are. On the dashed line "
    "their accuracy is their confidence, below it the model is overconfident."
)
FACTS = """<section><h2>What the models are for</h2><dl>
<dt>Training data</dt><dd>{trained_on}</dd>
<dt>What they predict</dt><dd>Which of the acted expressions of their training data a voice resembles most. They cannot
know what a person feels.</dd>
<dt>Limits</dt><dd>Expect more errors on other languages, ages, rooms and microphones, and on natural speech. Sounds
without speech get a label too.</dd>
<dt>Out-of-scope use</dt><dd class="ser-never">Do not judge people by them, least of all at work or in education: the
{act} forbids inferring emotions there (Art. 5(1)(f)), and asks that people be informed wherever else such a system is
used on them (Art. 50(3)).</dd>
<dt>Your recordings</dt><dd>{privacy}</dd></dl></section>"""


@dataclass(frozen=True)
class Described:
    """A model as the tab describes it.

    Attributes:
        name: what people know it by.
        metrics: the parsed ``metrics.json`` of its folder, see `ser_hf.card.write_card`; None where there is none.
        trained_on: the corpora that it was trained on; empty where it does not say.
    """

    name: str
    metrics: Metrics | None
    trained_on: tuple[str, ...] = ()


def about_html(model: Described, baseline: Described, privacy: str) -> str:
    """Everything that the tab shows, as a self-contained piece of the page.

    Args:
        privacy: plain sentences on what becomes of recordings.
    """
    models = {
        f"{title} ({model_name(described.name)})": as_dict(described.metrics)
        for title, described in (("Neural network", model), ("Baseline", baseline))
    }
    sureness = CALIBRATION_TEXT + (DIAGRAM_TEXT if any(map(calibration_bins, models.values())) else "")
    data = _trained_on(model, baseline) + _cards(model, baseline)
    act = _link("https://eur-lex.europa.eu/eli/reg/2024/1689/oj", "EU AI Act")
    return (
        f'<div class="ser-about">{_quality(models)}'
        f"{_side_by_side('Confusion matrix', CONFUSION_TEXT, confusion, models)}"
        f"{_side_by_side('Accuracy by speaker', SPREAD_TEXT, spread, models)}"
        f"{_side_by_side('Calibration', sureness, calibration, models)}"
        f"{FACTS.format(trained_on=data, act=act, privacy=escape(privacy))}</div>"
    )


def _side_by_side(title: str, text: str, figure: Callable[[str, Metrics], str], models: dict[str, Metrics]) -> str:
    figures = "".join(figure(name, metrics) for name, metrics in models.items())
    if not figures:
        return ""
    return f'<section><h2>{title}</h2><p>{text}</p><div class="ser-pair">{figures}</div></section>'


def _quality(models: dict[str, Metrics]) -> str:
    columns = {name: _column(metrics) for name, metrics in models.items()}
    measured = {name: models[name] for name, column in columns.items() if column}
    notes = _method(measured) + [
        f"{name} has no measured figures, so its accuracy is not known here." for name in models if name not in measured
    ]
    return (
        f"<section><h2>Accuracy</h2>{_table({name: columns[name] for name in measured})}"
        f"{''.join(f'<p>{escape(note)}</p>' for note in notes)}</section>"
    )


def _table(columns: dict[str, dict[tuple[str, str], str]]) -> str:
    if not columns:
        return ""
    heads = "".join(f'<th scope="col">{escape(name).replace(" (", " <br>(", 1)}</th>' for name in columns)
    rows = ""
    for title in dict.fromkeys(title for column in columns.values() for title in column):
        cells = "".join(f"<td>{column.get(title, 'not measured')}</td>" for column in columns.values())
        rows += f'<tr><th scope="row">{escape(title[0])} <small>{escape(title[1])}</small></th>{cells}</tr>'
    return (
        f'<table class="ser-figures"><thead><tr><th scope="col">Figure</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _column(metrics: Metrics) -> dict[tuple[str, str], str]:
    """The cells of a model's column, by the title of the row and what it means; only those there are figures for."""
    known = PROTOCOLS.get(str(metrics.get("protocol")))
    independent = known is not None and known.speaker_independent
    folds = share(metrics.get("fold_mean_accuracy"))
    column = {
        ("Accuracy", "on unseen speakers" if independent else "right predictions"): _cell(
            metrics.get("accuracy") if folds is None else folds, interval(metrics, "accuracy")
        ),
        ("UAR", "every label counts the same"): _cell(
            metrics.get("balanced_accuracy"), interval(metrics, "balanced_accuracy")
        ),
        ("Macro F1", "counts false alarms too"): _cell(metrics.get("macro_f1"), interval(metrics, "macro_f1")),
        ("Calibration error", "ECE, in points"): _cell(metrics.get("ece"), interval(metrics, "ece"), unit=""),
    }
    left_out = as_dict(metrics.get("left_out_corpora"))
    n_corpora = len(as_dict(left_out.get("balanced_accuracy")))
    column["UAR on other corpora", f"mean of {n_corpora} that were left out of training"] = _cell(left_out.get("mean"))
    for gender, group in groups(metrics, "per_gender").items():
        column[GENDER_NAMES.get(gender, gender).capitalize(), "accuracy"] = _cell(group["accuracy"])
    actors = sorted((group["accuracy"], name) for name, group in groups(metrics, "per_speaker").items())
    if actors:
        for extreme, (accuracy, name) in (("Lowest", actors[0]), ("Highest", actors[-1])):
            column[f"{extreme} accuracy", "by speaker"] = _cell(accuracy, f"actor {name}")
    labels, counts = confusion_counts(metrics)
    if labels:
        column["Chance", "guessing the label"] = _cell(1 / len(labels))
        column["Largest class", "always the same label"] = _cell(float(counts.sum(axis=1).max() / counts.sum()))
    return {title: cell for title, cell in column.items() if cell}


def _cell(value: Any, note: str = "", unit: str = " %") -> str:
    known = share(value)
    return "" if known is None else f"<b>{100 * known:.1f}{unit}</b> <small>{escape(note)}</small>"


def _method(measured: dict[str, Metrics]) -> list[str]:
    """How the figures came about, in sentences; told once where it is the same for all."""
    names: dict[str, str] = {}
    for name, metrics in measured.items():
        names.setdefault(_protocol(metrics), name)
    notes = [words if len(names) == 1 else f"{name}: {words}" for words, name in names.items()]
    if len(names) > 1:
        notes.append("They were measured in different ways: do not compare their figures.")
    if any(interval(metrics, "accuracy") for metrics in measured.values()):
        notes.append("The ranges are 95 % intervals over all clips, by bootstrap over speakers.")
    return notes


def _protocol(metrics: Metrics) -> str:
    clips, speakers = count(metrics.get("n_clips")), count(metrics.get("n_speakers"))
    protocol = metrics.get("protocol")
    corpora = ", ".join(str(name).upper() for name in as_list(metrics.get("corpora")))
    folds = len(as_dict(metrics.get("per_fold")))
    words = f"Measured on {clips} clips of {speakers} speakers" if clips and speakers else "Measured"
    words += f" of {corpora}" if corpora else ""
    if isinstance(protocol, str):
        words += f": {PROTOCOLS[protocol].description if protocol in PROTOCOLS else protocol}."
    else:
        words += "; the protocol is not known."
    if folds > 1:
        words += (
            " Accuracy is the mean over the folds. A published model is trained on all speakers by the same recipe, "
            f"and the figures are those of the {folds} cross-validation models, one per fold."
        )
    return words


def _trained_on(*models: Described) -> str:
    words = ""
    for model in models:
        names = ", ".join(name.upper() for name in model.trained_on) or "see the model's own card"
        words += f"{escape(model_name(model.name))}: {escape(names)}. "
    if any("ravdess" in model.trained_on for model in models):
        words += (
            f"{_link('https://doi.org/10.5281/zenodo.1188976', 'RAVDESS')} is under "
            f"{_link('https://creativecommons.org/licenses/by-nc-sa/4.0/', 'CC BY-NC-SA 4.0')}: models trained on "
            "it are not for commercial use."
        )
    return words.strip()


def _cards(*models: Described) -> str:
    """Where on the Hub the models' cards are, as of the revision that answers; nothing for folders."""
    links = []
    for name in (described.name for described in models if "/" in described.name):
        repo_id, _, revision = name.partition("@")
        page = f"/blob/{quote(revision, safe='')}/README.md" if revision else ""
        address = f"https://huggingface.co/{repo_id}{page}"
        links.append(_link(escape(address), f"the card of {escape(repo_id)}"))
    return f" On the Hub: {' and '.join(links)}." if links else ""


def _link(address: str, words: str) -> str:
    return f'<a href="{address}" target="_blank" rel="noopener">{words}</a>'
