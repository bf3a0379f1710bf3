import contextlib
import copy
import csv
import io
import itertools
import json
import re
import struct
import tempfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from app.analysis import Analyser
from app.batch import COLUMNS, batch_html, find_recordings, run_batch, write_csv
from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError
from ser_hf.rows import FORMULA_STARTS
from tests.app.pages import Tree
from tests.synthetic import make_clip

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def sound(samples: np.ndarray) -> bytes:
    """A wav file with 16 bits."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV")
    return buffer.getvalue()


VOICES = {emotion: sound(make_clip(emotion, seconds=1)) for emotion in ("happy", "sad", "angry")}
SILENCE = sound(np.zeros(19 * SAMPLE_RATE))  # 0.6 MB, and quickly refused


def pack(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> str:
    """A zip archive of names and contents."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return str(path)


def patch(path: str, central: int, local: int, format: str, value: int) -> None:
    """Set one field of the first entry, at its places in the central and in the local header."""
    content = bytearray(Path(path).read_bytes())
    struct.pack_into(format, content, content.index(CENTRAL) + central, value)
    struct.pack_into(format, content, content.index(LOCAL) + local, value)
    Path(path).write_bytes(content)


def put(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_run_batch_has_a_row_per_file_in_order(analyser, recordings, tmp_path):
    inside = {"b/sad.wav": VOICES["sad"], "a.wav": VOICES["happy"], "none.wav": b""}
    files = [str(recordings / "long.flac"), pack(tmp_path / "set.zip", inside), str(recordings / "bad.wav")]
    batch = run_batch(analyser, files)
    sources = {"long.flac": files[0], **{f"set.zip/{name}": {"bytes": b, "path": name} for name, b in inside.items()}}
    results = [analyser.predict(source, name) for name, source in sources.items()]
    assert [row["file"] for row in batch["rows"]] == [*sources, "bad.wav"]
    for row, result in zip(batch["rows"], results[:3], strict=False):
        model, baseline = result["model"], result["baseline"]
        assert {key: row[key] for key in ("agree", "duration")} == {key: result[key] for key in ("agree", "duration")}
        for prefix, part, name in (("", model, "label"), ("baseline_", baseline, "baseline")):
            assert row[name] == part["label"]
            assert row[f"{prefix}confidence"] == max(part["scores"].values())
            assert (row[f"{prefix}confident"], row[f"{prefix}scores"]) == (part["confident"], part["scores"])
        assert len(row["warnings"]) == len(result["warnings"] + model["warnings"] + baseline["warnings"])
    assert all(row["reason"] == "unreadable" for row in batch["rows"][3:])
    assert (batch["answered"], batch["failed"]) == (3, 2)
    assert batch["seconds"] == pytest.approx(sum(row["duration"] for row in batch["rows"][:3]), abs=1e-3)
    assert json.loads(json.dumps(batch)) == batch


def test_run_batch_adapts_to_one_speaker(analyser, tmp_path):
    """Both models are adapted to what can be read; where they cannot be, that is the result."""
    reference = {"labels": analyser.model.labels, "mean": [-3.0] * 8, "by_label": [[-3.0] * 8] * 8}
    known = replace(analyser, model=copy.copy(analyser.model), baseline=copy.copy(analyser.baseline))
    known.model.reference = known.baseline.reference = reference
    archive = pack(tmp_path / "set.zip", {f"{name}.wav": sound for name, sound in VOICES.items()} | {"none.wav": b""})
    plain, adapted = (run_batch(known, [archive], one_speaker=one) for one in (False, True))
    sources = [{"bytes": sound} for sound in VOICES.values()]
    for name, scores in (("model", "scores"), ("baseline", "baseline_scores")):
        expected = getattr(known, name).adapt(sources).predict(sources[0]).scores
        assert adapted["rows"][0][scores] == pytest.approx(expected, abs=1e-5)
        assert plain["rows"][0][scores] != adapted["rows"][0][scores]
    assert (adapted["answered"], adapted["failed"]) == (3, 1)
    for unknown in (analyser, limited(known, megabytes=0)):
        refused = run_batch(unknown, [archive], one_speaker=True)
        assert refused["rows"] == []
        assert refused["error"] in batch_html(refused)


def test_run_batch_shows_no_path_of_the_server(analyser, recordings, tmp_path):
    files = [put(tmp_path / "torn.zip", b"PK\x03\x04torn"), pack(tmp_path / "empty.zip", {})]
    files += [str(tmp_path / "gone.wav"), str(tmp_path), str(recordings / "bad.wav"), str(recordings / "silence.wav")]
    batch = run_batch(analyser, files)
    assert all("error" in row for row in batch["rows"])
    for folder in (tmp_path, recordings):
        assert str(folder) not in json.dumps(batch)


def test_find_recordings_chooses_entries_by_name(tmp_path):
    names = ["z.wav", "in/a.MP3", "in\\b.flac", "../c.mov"]
    hidden = [".d.wav", "in/._a.mp3", "in\\._b.flac", "__MACOSX/e.wav", "in/__MACOSX/f.wav", ".trash/g.wav"]
    others = ["notes.txt", "more.zip", "wav"]
    archive = pack(tmp_path / "set.zip", dict.fromkeys([*hidden, *names, "folder.wav/", *others], b""))
    left_out = []
    found = find_recordings([archive], left_out=left_out)
    assert [recording.name for recording in found] == [f"set.zip/{name}" for name in names]
    assert left_out == [f"set.zip/{name}" for name in others]


def test_find_recordings_chooses_entries_by_content(tmp_path, monkeypatch):
    monkeypatch.setattr("app.batch.PROBED", 1)
    inside = {"a": VOICES["sad"], "b.dat": VOICES["sad"], "c.txt": b"RIFF", "d": VOICES["sad"], "e.wav": b""}
    archive = pack(tmp_path / "set.zip", inside)
    left_out = []
    found = find_recordings([archive], Limits(batch_files=3), left_out)
    assert [recording.name for recording in found] == ["set.zip/a", "set.zip/b.dat", "set.zip/e.wav"]
    assert left_out == ["set.zip/c.txt", "set.zip/d"]  # the fourth that would have to be opened is not


def test_batch_names_what_is_no_recording(analyser, tmp_path):
    batch = run_batch(analyser, [pack(tmp_path / "set.zip", {"a": VOICES["sad"], "<b>.txt": b"words"})])
    assert (batch["answered"], batch["failed"], batch["left_out"]) == (1, 0, "set.zip/<b>.txt")
    assert "set.zip/<b>.txt" in Tree(batch_html(batch)).texts("p")[0]


def test_run_batch_knows_archives_by_their_content(analyser, tmp_path):
    files = [pack(tmp_path / "set.dat", {"a.wav": VOICES["sad"]})]
    files += [put(tmp_path / name, VOICES["sad"]) for name in ("voice.zip", "voice.txt", "voice")]
    # An archive hung on behind leaves a recording a recording.
    files.append(put(tmp_path / "both.wav", VOICES["sad"] + Path(files[0]).read_bytes()))
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"]] == ["set.dat/a.wav", "voice.zip", "voice.txt", "voice", "both.wav"]
    assert batch["failed"] == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: patch(path, 8, 6, "<H", 1), "password", id="encrypted"),
        pytest.param(lambda path: patch(path, 16, 14, "<L", 1), "damaged", id="checksum"),
        pytest.param(lambda path: patch(path, 24, 22, "<L", 2_000_000), "damaged", id="claims more than it holds"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", zipfile.ZIP_BZIP2), "unusual", id="bzip2"),
    ],
)
def test_bad_entry_is_a_row_beside_the_others(analyser, tmp_path, spoil, words):
    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["happy"], "b.wav": VOICES["sad"]})
    spoil(archive)
    rows = run_batch(analyser, [archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip/a.wav", "set.zip/b.wav"]
    assert rows[0]["reason"] == "unreadable"
    assert rows[0]["error"].startswith("set.zip/a.wav: ")
    assert words in rows[0]["error"]
    assert "error" not in rows[1]


SMALL = io.BytesIO()
with zipfile.ZipFile(SMALL, "w") as small:
    small.writestr("a/é.wav", bytes(range(200)))
    small.writestr("b.wav", bytes(2000), zipfile.ZIP_DEFLATED)
    with small.open("c.wav", "w", force_zip64=True) as entry:
        entry.write(bytes(300))


@given(st.lists(st.tuples(st.integers(4, len(SMALL.getvalue()) - 1), st.binary(min_size=1, max_size=4)), min_size=1))
def test_find_recordings_survives_any_damage(patches):
    content = bytearray(SMALL.getvalue())
    for place, change in patches:
        content[place : place + len(change)] = change
    with tempfile.TemporaryDirectory() as folder:
        for recording in find_recordings([put(Path(folder) / "x.zip", content)]):
            if isinstance(recording, dict):
                assert recording["error"]
                continue
            with contextlib.suppress(UnreadableAudioError):
                assert len(recording.read()["bytes"]) == recording.size


def test_zip_bomb_costs_no_memory(analyser, tmp_path):
    bomb, liar = (pack(tmp_path / f"{name}.zip", {"a.wav": bytes(60_000_000)}) for name in ("bomb", "liar"))
    patch(liar, 24, 22, "<L", 100_000)
    tracemalloc.start()
    batch = run_batch(limited(analyser, megabytes=1), [bomb, liar])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["reason"] for row in batch["rows"]] == ["too large", "unreadable"]
    assert "60 MB" in batch["rows"][0]["error"]
    assert peak < 10e6


def test_run_batch_unpacks_nothing_to_disk(analyser, tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", {"../../a.wav": VOICES["sad"], "/b.wav": VOICES["sad"]})
    empty = tmp_path / "deep" / "deeper"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    assert run_batch(analyser, [archive])["answered"] == 2
    assert {path.name for path in tmp_path.rglob("*")} == {"set.zip", "deep", "deeper"}


def limited(analyser: Analyser, **limits: int) -> Analyser:
    return replace(analyser, limits=Limits(**limits))


def test_run_batch_limits_the_number_of_recordings(analyser, tmp_path):
    archive = pack(tmp_path / "set.zip", {f"{number}.wav": VOICES["sad"] for number in range(5)})
    files = [put(tmp_path / "bad.wav", b"no sound"), archive, archive]
    reports = []
    batch = run_batch(limited(analyser, batch_files=3), files, lambda *report: reports.append(report[:2]))
    assert [row["file"] for row in batch["rows"]] == ["bad.wav", "set.zip/0.wav", "set.zip/1.wav", ""]
    assert batch["rows"][-1]["reason"] == "too many"
    assert "8 more" in batch["rows"][-1]["error"]
    assert (batch["answered"], batch["failed"]) == (2, 9)
    assert reports == [(1, 3), (2, 3), (3, 3)]
    assert len(run_batch(limited(analyser, batch_files=11), files)["rows"]) == 11


def test_run_batch_limits_bytes(analyser, tmp_path):
    loose = put(tmp_path / "a.wav", SILENCE)
    archive = pack(tmp_path / "set.zip", {"b.wav": SILENCE, "large.wav": bytes(1_500_000), "c.wav": VOICES["sad"]})
    rows = run_batch(limited(analyser, megabytes=1, batch_megabytes=1), [loose, archive, loose])["rows"]
    reasons = ["silence", "batch too large", "too large", None, "batch too large"]
    assert [row.get("reason") for row in rows] == reasons
    assert [row["file"] for row in rows] == ["a.wav", "set.zip/b.wav", "set.zip/large.wav", "set.zip/c.wav", "a.wav"]


def test_run_batch_limits_its_time(analyser, tmp_path):
    files = [put(tmp_path / f"{number}.wav", VOICES["sad"]) for number in range(5)]
    minutes = itertools.count()
    batch = run_batch(limited(analyser, batch_minutes=2), files, clock=lambda: 60 * next(minutes))
    assert [row["file"] for row in batch["rows"]] == ["0.wav", ""]
    assert batch["rows"][-1]["reason"] == "out of time"
    assert "4 more" in batch["rows"][-1]["error"]
    assert (batch["answered"], batch["failed"]) == (1, 4)


SCORES = {"happy": 0.91, "sad": 0.09}
FAILED = {"file": "bad.wav", "reason": "unreadable", "error": "bad.wav: not an audio file that can be read"}


def row_of(**changes: object) -> dict:
    row = {"file": "clip.wav", "label": "happy", "confidence": 0.91, "confident": True}
    row |= {"baseline": "happy", "baseline_confidence": 0.52, "baseline_confident": True}
    row |= {"agree": True, "duration": 3.5, "warnings": [], "scores": SCORES, "baseline_scores": SCORES}
    return row | changes


def batch_of(*rows: dict, left_out: int = 0) -> dict:
    good = [row for row in rows if "error" not in row]
    failed = len(rows) - len(good) + left_out
    return {"rows": [*rows], "answered": len(good), "failed": failed, "seconds": sum(r["duration"] for r in good)}


def test_batch_html_has_a_labelled_row_per_recording():
    page = Tree(batch_html(batch_of(row_of(confident=False), row_of(agree=False, warnings=["baseline: <x>"]), FAILED)))
    doubtful, differing, bad = page.texts("tr")[1:]
    assert doubtful.startswith("clip.wavlow confidence:")
    for words in ("happy 91 %", "happy 52 %", "3.5 s", "The models disagree.", "Baseline: <x>."):
        assert words in differing
    assert "disagree" not in doubtful
    assert bad == "bad.wavNot analysed. Not an audio file that can be read."  # its name once
    assert [row["class"] for row in page.attributes("tr")[1:]] == ["", "", "ser-refused"]
    heads = page.texts("th")[:5]
    assert [cell.get("data-label") for cell in page.attributes("td")[:4]] == heads[1:]
    assert [head["scope"] for head in page.attributes("th")] == ["col"] * len(heads) + ["row"] * 3
    # Stacked by the style sheet the rows would be no table any more, were it not for the roles.
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    for tag, role in roles.items():
        assert {attributes["role"] for attributes in page.attributes(tag)} == {role}


@pytest.mark.parametrize(
    ("batch", "numbers"),
    [
        (batch_of(row_of()), "1 3.5 1 1"),
        (batch_of(row_of(), row_of(agree=False, duration=116.3), FAILED), "2 2 0 1 2 1"),
        (batch_of(FAILED, left_out=3), "0 4"),
    ],
)
def test_batch_html_sums_up(batch, numbers):
    summary = Tree(batch_html(batch)).texts("p")[0]
    assert re.findall(r"\d[\d.]*\b", summary) == numbers.split()


def test_batch_html_escapes_names_and_labels():
    evil = "<img src=x onerror=alert(1)>"
    rows = (row_of(file=evil, label=evil, baseline=evil, warnings=[evil]), FAILED | {"file": evil, "error": evil})
    assert Tree(batch_html(batch_of(*rows))).attributes("img") == []


def test_batch_html_says_that_there_are_no_files(analyser):
    for files in (None, []):
        batch = run_batch(analyser, files)
        assert batch["rows"] == []
        assert batch["error"] in batch_html(batch)


def csv_of(rows: list[dict], folder: Path) -> list[dict[str, str]]:
    """The heads, each with an empty cell, and the rows."""
    write_csv({"rows": rows}, folder / "batch.csv")
    with (folder / "batch.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return [dict.fromkeys(reader.fieldnames, ""), *reader]


def test_csv_holds_every_row_and_probability(tmp_path):
    good = row_of(file="\udcff.wav", warnings=["a", "b"], baseline_scores={"bored": 1.0})
    heads, row, failed = csv_of([good, FAILED], tmp_path)
    assert list(heads) == [*COLUMNS, "p_happy", "p_sad", "baseline_p_bored", "warnings", "error"]
    assert failed == heads | {"file": "bad.wav", "error": FAILED["error"]}
    shown = {column: str(good[column]) for column in COLUMNS} | {"file": "\\udcff.wav", "warnings": "a; b"}
    assert row == heads | shown | {"p_happy": "0.91", "p_sad": "0.09", "baseline_p_bored": "1.0"}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
dangerous = st.tuples(st.sampled_from(FORMULA_STARTS), texts).map("".join)


@given(st.lists(st.tuples(texts | dangerous, texts | dangerous)))
def test_csv_holds_no_formula(cells):
    """A spreadsheet would run a name such as ``=HYPERLINK(...)``: such texts get an apostrophe, others stay."""
    rows = [row_of(file=file, warnings=[text]) for file, text in cells]
    with tempfile.TemporaryDirectory() as folder:
        table = csv_of(rows, Path(folder))[1:]
    for row, originals in zip(table, cells, strict=True):
        for cell, original in zip((row["file"], row["warnings"]), originals, strict=True):
            assert cell == ("'" + original if original.startswith(FORMULA_STARTS) else original)
