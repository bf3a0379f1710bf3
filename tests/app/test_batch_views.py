import re
from html.parser import HTMLParser

import pytest

from app.batch import run_batch
from app.batch_views import COLUMNS, batch_html
from ser_hf.marks import EMOTION_SYMBOLS

SCORES = {"happy": 0.91, "sad": 0.09}


def answered(**changes: object) -> dict:
    row = {"file": "clip.wav", "label": "happy", "confidence": 0.91, "confident": True}
    row |= {"baseline": "happy", "baseline_confidence": 0.52, "baseline_confident": True}
    row |= {"agree": True, "duration": 3.5, "warnings": [], "scores": SCORES, "baseline_scores": SCORES}
    return row | changes


def batch_of(*rows: dict, left_out: int = 0) -> dict:
    good = [row for row in rows if "error" not in row]
    failed = len(rows) - len(good) + left_out
    return {"rows": [*rows], "answered": len(good), "failed": failed, "seconds": sum(r["duration"] for r in good)}


REFUSED = {"file": "bad.wav", "reason": "unreadable", "error": "bad.wav: not an audio file that can be read"}


class Tags(HTMLParser):
    """The tags of a page, and what stands in it as text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, *tags: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def test_table_has_a_row_a_recording_with_both_answers():
    other = answered(file="other.wav", label="sad", confidence=0.4, baseline="angry", baseline_confidence=0.3)
    html = batch_html(batch_of(answered(), other, REFUSED))
    page = Tags(html)
    assert len(re.findall("<tr", html)) == 1 + 3
    for words in ("clip.wav", "happy", "91 %", "52 %", "3.5 s", "other.wav", "sad", "40 %", "angry", "30 %"):
        assert words in page.text
    for emotion in ("happy", "sad", "angry"):
        assert EMOTION_SYMBOLS[emotion] in page.text


def test_table_says_of_which_answers_a_model_is_not_sure():
    assert "low confidence" not in Tags(batch_html(batch_of(answered()))).text
    doubtful = re.findall(r"low confidence: \W*(\w+)", Tags(batch_html(batch_of(answered(confident=False)))).text)
    assert doubtful == ["happy"]
    both = answered(confident=False, baseline="sad", baseline_confident=False)
    assert re.findall(r"low confidence: \W*(\w+)", Tags(batch_html(batch_of(both))).text) == ["happy", "sad"]


def test_table_says_to_screen_readers_what_is_a_head_and_what_it_is_of():
    page = Tags(batch_html(batch_of(answered(), REFUSED)))
    assert len(page.named("caption")) == 1
    heads = [attributes["scope"] for attributes in page.named("th")]
    assert heads == ["col"] * len(COLUMNS) + ["row"] * 2
    # Stacked by the style sheet the rows would be no table any more, were it not for the roles.
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    for tag, role in roles.items():
        assert {attributes["role"] for attributes in page.named(tag)} == {role}
    assert {attributes["role"] for attributes in page.named("th")} == {"columnheader", "rowheader"}
    assert "status" in [attributes.get("role") for attributes in page.named("p")]


def test_every_cell_of_an_answer_is_labelled_for_the_phone():
    page = Tags(batch_html(batch_of(answered())))
    assert [cell["data-label"] for cell in page.named("td")] == list(COLUMNS[1:])


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (batch_of(answered()), "1 recording analysed, 3.5 s in all. The models agree on 1 of 1."),
        (
            batch_of(answered(), answered(agree=False, duration=116.3), REFUSED),
            "2 recordings analysed, 2 min 0 s in all. The models agree on 1 of 2. 1 recording not analysed; "
            "the remarks say why.",
        ),
        (batch_of(REFUSED, left_out=3), "0 recordings analysed. 4 recordings not analysed; the remarks say why."),
    ],
)
def test_summary_counts(batch, words):
    assert Tags(batch_html(batch)).text.startswith(words)


def test_what_was_not_answered_is_marked_and_said_in_words():
    rest = {"file": "", "reason": "too many", "error": "Left out: 3 more, as at most 2 are taken at once."}
    page = Tags(batch_html(batch_of(answered(), REFUSED, rest)))
    assert [row["class"] for row in page.named("tr")[1:]] == ["", "ser-refused", "ser-refused"]
    assert "bad.wavNot analysed. Not an audio file that can be read." in page.text  # the name once
    assert "The restNot analysed. Left out: 3 more, as at most 2 are taken at once." in page.text
    assert ".." not in page.text


def test_remarks_hold_the_warnings_and_whether_the_models_disagree():
    warnings = ["clipped: 3 % of the samples", "baseline: <unsure>"]
    differing = Tags(batch_html(batch_of(answered(agree=False, warnings=warnings)))).text
    for words in ("The models disagree.", "Clipped: 3 % of the samples.", "Baseline: <unsure>."):
        assert words in differing
    assert "disagree" not in Tags(batch_html(batch_of(answered()))).text


def test_names_labels_and_errors_of_strangers_are_no_html():
    evil = "<img src=x onerror=alert(1)>"
    rows = (
        answered(file=evil, label=evil, baseline=evil, warnings=[evil]),
        {"file": evil, "reason": "unreadable", "error": f"{evil}: {evil}"},
        {"file": evil, "reason": "unreadable", "error": evil},
    )
    page = Tags(batch_html(batch_of(*rows)))
    assert page.named("img") == []
    assert page.text.count(evil) == 8


def test_no_files_are_told_in_words(analyser):
    html = batch_html(run_batch(analyser, None))
    assert "no files yet" in html
    assert "<table" not in html


def test_batch_that_was_run_can_be_shown(analyser, recordings):
    files = [str(recordings / name) for name in ("long.flac", "bad.wav")]
    page = Tags(batch_html(run_batch(analyser, files)))
    assert "long.flac" in page.text
    assert "windows" in page.text
    assert "bad.wav" in page.text
