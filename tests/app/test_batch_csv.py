import csv
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.batch import run_batch
from app.batch_csv import write_csv
from ser_hf.labels import LABELS


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_row_and_probability(analyser, recordings, tmp_path):
    files = [str(recordings / name) for name in ("clip.wav", "long.flac", "bad.wav")]
    batch = run_batch(analyser, files)
    path = write_csv(batch, analyser.model.labels, tmp_path / "batch.csv")
    rows = read_csv(path)
    assert list(rows[0]) == [
        *("file", "label", "confidence", "confident"),
        *("baseline", "baseline_confidence", "baseline_confident", "agree", "duration"),
        *(f"p_{label}" for label in LABELS),
        *(f"baseline_p_{label}" for label in LABELS),
        *("warnings", "error"),
    ]
    for row, answer in zip(rows[:2], batch["rows"], strict=False):
        for key in ("file", "label", "baseline"):
            assert row[key] == answer[key]
        for key in ("confidence", "baseline_confidence", "duration"):
            assert float(row[key]) == answer[key]
        assert row["agree"] == str(answer["agree"])
        assert row["warnings"] == "; ".join(answer["warnings"])
        assert row["error"] == ""
        for label in LABELS:
            assert float(row[f"p_{label}"]) == answer["scores"][label]
            assert float(row[f"baseline_p_{label}"]) == answer["baseline_scores"][label]
    assert rows[2]["error"] == batch["rows"][2]["error"]
    assert rows[2]["label"] == rows[2]["p_happy"] == ""
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf")


def answered(file: str, label: str = "sad", warnings: tuple[str, ...] = ()) -> dict:
    scores = {label: 0.75, "other": 0.25}
    part = {"label": label, "confidence": 0.75, "baseline": label, "baseline_confidence": 0.75, "agree": True}
    return {"file": file, **part, "duration": 1.5, "warnings": [*warnings], "scores": scores, "baseline_scores": scores}


def test_csv_has_columns_for_labels_that_one_model_alone_knows(tmp_path):
    row = answered("a.wav") | {"baseline_scores": {"bored": 1.0}}
    rows = read_csv(write_csv({"rows": [row]}, ["sad", "other"], tmp_path / "batch.csv"))
    assert rows[0]["baseline_p_bored"] == "1.0"
    assert rows[0]["baseline_p_sad"] == ""


def test_csv_of_no_rows_has_its_heads(tmp_path):
    path = write_csv({"rows": []}, ["sad"], tmp_path / "batch.csv")
    assert path.read_text().startswith("file,label,")
    assert read_csv(path) == []


def test_csv_takes_names_that_are_no_text(tmp_path):
    rows = read_csv(write_csv({"rows": [answered("\udcff.wav")]}, ["sad"], tmp_path / "batch.csv"))
    assert rows[0]["file"] == "\\udcff.wav"


FORMULAS = tuple("=+-@\t\r\n＝＋－＠")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
dangerous = st.tuples(st.sampled_from(FORMULAS), texts).map("".join)


@given(st.lists(st.tuples(texts | dangerous, texts | dangerous, st.booleans())))
def test_csv_comes_back_as_written_but_for_formulas(cells):
    """A spreadsheet would run a name such as ``=HYPERLINK(...)``: such texts get an apostrophe, others stay."""
    rows = [
        answered(file, warnings=(text,)) if good else {"file": file, "reason": "unreadable", "error": text}
        for file, text, good in cells
    ]
    with tempfile.TemporaryDirectory() as folder:
        table = read_csv(write_csv({"rows": rows}, ["sad", "other"], Path(folder) / "batch.csv"))
    assert len(table) == len(cells)
    for row, (file, text, good) in zip(table, cells, strict=True):
        for cell, original in ((row["file"], file), (row["warnings" if good else "error"], text)):
            assert cell == ("'" + original if original.startswith(FORMULAS) else original)
        for cell in row.values():
            assert not cell.startswith(FORMULAS)
        if good:
            assert float(row["p_sad"]) == 0.75
