"""How a batch is shown: a sentence on the whole, and a table with one row a recording."""

from __future__ import annotations

from html import escape

from app.analysis import Answer
from app.batch import Batch
from app.elements import emotion, percent, refusal, warnings
from app.views import REFUSALS

COLUMNS = ("Recording", "Neural network", "Baseline", "Length", "Remarks")


def batch_html(batch: Batch) -> str:
    """What `app.batch.run_batch` returns, as a self-contained piece of the page."""
    if "error" in batch:
        return refusal(REFUSALS["nothing"][0], batch["error"])
    # On a phone rows are stacked by the style sheet, which takes the meaning of a table away: roles give it back.
    heads = "".join(f'<th scope="col" role="columnheader">{column}</th>' for column in COLUMNS)
    rows = "".join(_refused(row) if "error" in row else _answered(row) for row in batch["rows"])
    return (
        f'<div class="ser-batch"><p class="ser-verdict" role="status">{_summary(batch)}</p>'
        '<table class="ser-table" role="table"><caption>What both models hear in each recording</caption>'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table></div>'
    )


def _summary(batch: Batch) -> str:
    agreed = sum(row.get("agree", False) for row in batch["rows"])
    sentences = [f"<b>{_count(batch['answered'])} analysed</b>"]
    if batch["answered"]:
        sentences[0] += f", {_length(batch['seconds'])} in all"
        sentences.append(f"The models agree on {agreed} of {batch['answered']}")
    if batch["failed"]:
        sentences.append(f"<b>{_count(batch['failed'])} not analysed</b>; the remarks say why")
    return ". ".join(sentences) + "."


def _answered(row: Answer) -> str:
    differ = [] if row["agree"] else ["the models disagree"]
    cells = (
        _answer(row["label"], row["confidence"], row["confident"]),
        _answer(row["baseline"], row["baseline_confidence"], row["baseline_confident"]),
        _length(row["duration"]),
        warnings([*differ, *row["warnings"]]),
    )
    titled = zip(COLUMNS[1:], cells, strict=True)
    return _row(row["file"], "".join(f'<td role="cell" data-label="{title}">{cell}</td>' for title, cell in titled))


def _answer(label: str, confidence: float, confident: bool) -> str:
    return f"{'' if confident else 'low confidence: '}{emotion(label)} {percent(confidence)}"


def _refused(row: Answer) -> str:
    reason = row["error"].removeprefix(f"{row['file']}: ").removesuffix(".")
    text = f"<b>Not analysed.</b> {escape(reason[:1].upper() + reason[1:])}."
    return _row(row["file"] or "The rest", f'<td role="cell" colspan="{len(COLUMNS) - 1}">{text}</td>', "ser-refused")


def _row(name: str, cells: str, kind: str = "") -> str:
    return f'<tr role="row" class="{kind}"><th scope="row" role="rowheader">{escape(name)}</th>{cells}</tr>'


def _count(recordings: int) -> str:
    return f"{recordings} recording{'' if recordings == 1 else 's'}"


def _length(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
