import contextlib
import csv
import io
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

from app.batch import COLUMNS, FORMULA_STARTS, HEADS, batch_html, find_recordings, run_batch, write_csv
from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError
from ser_hf.labels import LABELS
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


def patch(path: str, central: int, local: int | None, format: str, value: int) -> None:
    """Set one field of the first entry, at its places in the central and in the local header."""
    content = bytearray(Path(path).read_bytes())
    struct.pack_into(format, content, content.index(CENTRAL) + central, value)
    if local is not None:
        struct.pack_into(format, content, content.index(LOCAL) + local, value)
    Path(path).write_bytes(content)


def put(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def expected_row(answer: dict) -> dict:
    """The row of an answer, written out once more."""
    model, baseline = answer["model"], answer["baseline"]
    row = {key: answer[key] for key in ("file", "agree", "duration")}
    for prefix, part, name in (("", model, "label"), ("baseline_", baseline, "baseline")):
        row |= {name: part["label"], f"{prefix}confidence": max(part["scores"].values())}
        row |= {f"{prefix}confident": part["confident"], f"{prefix}scores": part["scores"]}
    of_baseline = [f"baseline: {text}" for text in baseline["warnings"]]
    return row | {"warnings": answer["warnings"] + model["warnings"] + of_baseline}


def test_run_batch_has_a_row_per_file_in_order(analyser, recordings, tmp_path):
    files = [str(recordings / name) for name in ("long.flac", "bad.wav", "clip.wav", "silence.wav", "empty.wav")]
    archive = pack(tmp_path / "set.zip", {"b/sad.wav": VOICES["sad"], "a.wav": VOICES["happy"], "none.wav": b""})
    batch = run_batch(analyser, [files[0], archive, *files[1:]])
    alone = [analyser.answer(file, Path(file).name) for file in files]
    packed = {"set.zip/b/sad.wav": VOICES["sad"], "set.zip/a.wav": VOICES["happy"], "set.zip/none.wav": b""}
    inside = [analyser.answer({"bytes": content, "path": name}, name) for name, content in packed.items()]
    expected = [alone[0], *inside, *alone[1:]]
    assert batch["rows"] == [answer if "error" in answer else expected_row(answer) for answer in expected]
    assert (batch["answered"], batch["failed"]) == (4, 4)
    assert batch["seconds"] == pytest.approx(sum(answer.get("duration", 0) for answer in expected), abs=1e-3)
    assert json.loads(json.dumps(batch)) == batch


def test_run_batch_shows_no_path_of_the_server(analyser, recordings, tmp_path):
    files = [put(tmp_path / "torn.zip", b"PK\x03\x04torn"), pack(tmp_path / "empty.zip", {})]
    files += [str(tmp_path / "gone.wav"), str(tmp_path)]
    files.append(pack(tmp_path / "odd.zip", {"x.wav": b"no sound"}))
    files += [str(recordings / name) for name in ("bad.wav", "silence.wav", "short.wav", "clip.wav")]
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"] if "error" not in row] == ["clip.wav"]
    assert all(word in row["error"] for word, row in zip(("damaged", "no recordings"), batch["rows"], strict=False))
    for folder in (tmp_path, recordings):
        assert str(folder) not in json.dumps(batch)


def test_find_recordings_chooses_entries_by_name(tmp_path):
    names = ["z.wav", "in/a.MP3", "in\\b.flac", ".hidden/c.ogg"]
    others = ["notes.txt", ".d.wav", "in/._a.mp3", "in\\._b.flac", "__MACOSX/e.wav", "in/__MACOSX/f.wav", "more.zip"]
    others += ["folder.wav/", "wav"]
    archive = pack(tmp_path / "set.zip", dict.fromkeys([*others[:4], *names, *others[4:]], b""))
    assert [recording.name for recording in find_recordings([archive], Limits())] == [f"set.zip/{n}" for n in names]


def test_run_batch_knows_archives_by_their_content(analyser, tmp_path):
    files = [pack(tmp_path / "set.dat", {"a.wav": VOICES["sad"]})]
    files += [put(tmp_path / name, VOICES["sad"]) for name in ("voice.zip", "voice.txt", "voice")]
    # An archive hung on behind leaves a recording a recording.
    files.append(put(tmp_path / "both.wav", VOICES["sad"] + Path(files[0]).read_bytes()))
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"]] == ["set.dat/a.wav", "voice.zip", "voice.txt", "voice", "both.wav"]
    assert batch["failed"] == 0


def damage_content(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[60:80] = bytes(20)
    Path(path).write_bytes(content)


def claim_more_than_the_file(path: str) -> None:
    patch(path, 10, 8, "<H", zipfile.ZIP_STORED)
    for central, local in ((20, 18), (24, 22)):
        patch(path, central, local, "<L", 2_000_000)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: patch(path, 8, 6, "<H", 1), "password", id="encrypted"),
        pytest.param(lambda path: patch(path, 16, 14, "<L", 1), "damaged", id="checksum"),
        pytest.param(damage_content, "damaged", id="content"),
        pytest.param(lambda path: patch(path, 24, 22, "<L", 1000), "damaged", id="claims less than it holds"),
        pytest.param(lambda path: patch(path, 24, 22, "<L", 2_000_000), "damaged", id="claims more than it holds"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", zipfile.ZIP_BZIP2), "unusual", id="bzip2"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", 99), "unusual", id="unknown method"),
        pytest.param(lambda path: patch(path, 8, 6, "<H", 0x20), "damaged", id="patch data"),
        pytest.param(lambda path: patch(path, 42, None, "<L", 5), "damaged", id="points astray"),
        pytest.param(claim_more_than_the_file, "damaged", id="claims more than the file"),
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
        for recording in find_recordings([put(Path(folder) / "x.zip", content)], Limits()):
            if isinstance(recording, dict):
                assert recording["error"]
                continue
            with contextlib.suppress(UnreadableAudioError):
                assert len(recording.read()["bytes"]) == recording.size


def test_zip_bomb_costs_no_memory(analyser, tmp_path):
    bomb, liar = (pack(tmp_path / f"{name}.zip", {"a.wav": bytes(60_000_000)}) for name in ("bomb", "liar"))
    patch(liar, 24, 22, "<L", 100_000)
    tracemalloc.start()
    batch = run_batch(replace(analyser, limits=Limits(megabytes=1)), [bomb, liar])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["reason"] for row in batch["rows"]] == ["too large", "unreadable"]
    assert "60 MB" in batch["rows"][0]["error"]
    assert peak < 10e6


def test_archive_of_too_many_files_is_refused_unread(analyser, tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", {f"{'x' * 200}{number}.wav": b"" for number in range(5000)})
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # nothing of the list may be looked at
    rows = run_batch(analyser, [archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip"]
    assert "too many files" in rows[0]["error"]


def test_run_batch_unpacks_nothing_to_disk(analyser, tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", {"../../a.wav": VOICES["sad"], "/b.wav": VOICES["sad"]})
    empty = tmp_path / "deep" / "deeper"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    assert run_batch(analyser, [archive])["answered"] == 2
    assert {path.name for path in tmp_path.rglob("*")} == {"set.zip", "deep", "deeper"}


def test_run_batch_limits_the_size_of_a_recording(analyser, tmp_path):
    large = bytes(1_500_000)
    files = [put(tmp_path / "a.wav", large), pack(tmp_path / "set.zip", {"b.wav": large, "c.wav": VOICES["sad"]})]
    rows = run_batch(replace(analyser, limits=Limits(megabytes=1)), files)["rows"]
    assert [row.get("reason") for row in rows] == ["too large", "too large", None]


def test_run_batch_limits_the_number_of_recordings(analyser, tmp_path):
    archive = pack(tmp_path / "set.zip", {f"{number}.wav": VOICES["sad"] for number in range(5)})
    files = [put(tmp_path / "bad.wav", b"no sound"), archive, archive]
    reports = []
    limited = replace(analyser, limits=Limits(batch_files=3))
    batch = run_batch(limited, files, lambda *report: reports.append(report))
    assert [row["file"] for row in batch["rows"]] == ["bad.wav", "set.zip/0.wav", "set.zip/1.wav", ""]
    assert batch["rows"][-1]["reason"] == "too many"
    assert "8 more" in batch["rows"][-1]["error"]
    assert "at most 3 recordings" in batch["rows"][-1]["error"]
    assert (batch["answered"], batch["failed"]) == (2, 9)
    assert [report[:2] for report in reports] == [(1, 3), (2, 3), (3, 3)]
    exactly = run_batch(replace(analyser, limits=Limits(batch_files=11)), files)
    assert len(exactly["rows"]) == 11
    assert exactly["failed"] == 1


def test_run_batch_limits_its_bytes(analyser, tmp_path):
    loose = put(tmp_path / "a.wav", SILENCE)
    archive = pack(tmp_path / "set.zip", {"b.wav": SILENCE, "c.wav": VOICES["sad"]})
    limited = replace(analyser, limits=Limits(batch_megabytes=1))
    rows = run_batch(limited, [loose, archive, loose])["rows"]
    assert [row.get("reason") for row in rows] == ["silence", "batch too large", None, "batch too large"]
    assert [row["file"] for row in rows] == ["a.wav", "set.zip/b.wav", "set.zip/c.wav", "a.wav"]
    assert "1 MB" in rows[1]["error"]


def test_run_batch_limits_the_bytes_of_archives(analyser, tmp_path):
    noise = np.random.default_rng(0).bytes(600_000)
    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["sad"], "noise.txt": noise})
    limited = replace(analyser, limits=Limits(batch_megabytes=1))
    rows = run_batch(limited, [archive, archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip/a.wav", "set.zip"]
    assert rows[1]["reason"] == "batch too large"


def test_run_batch_limits_its_time(analyser, tmp_path):
    files = [put(tmp_path / f"{number}.wav", VOICES["sad"]) for number in range(5)]
    now = [1000.0]

    def a_minute_later(done: int, total: int, name: str) -> None:
        now[0] += 60

    limited = replace(analyser, limits=Limits(batch_minutes=2))
    batch = run_batch(limited, files, a_minute_later, clock=lambda: now[0])
    assert [row["file"] for row in batch["rows"]] == ["0.wav", "1.wav", ""]
    assert batch["rows"][-1]["reason"] == "out of time"
    assert "3 more" in batch["rows"][-1]["error"]
    assert "2 min" in batch["rows"][-1]["error"]
    assert (batch["answered"], batch["failed"]) == (2, 3)


SCORES = {"happy": 0.91, "sad": 0.09}
REFUSED = {"file": "bad.wav", "reason": "unreadable", "error": "bad.wav: not an audio file that can be read"}


def answered(**changes: object) -> dict:
    row = {"file": "clip.wav", "label": "happy", "confidence": 0.91, "confident": True}
    row |= {"baseline": "happy", "baseline_confidence": 0.52, "baseline_confident": True}
    row |= {"agree": True, "duration": 3.5, "warnings": [], "scores": SCORES, "baseline_scores": SCORES}
    return row | changes


def batch_of(*rows: dict, left_out: int = 0) -> dict:
    good = [row for row in rows if "error" not in row]
    failed = len(rows) - len(good) + left_out
    return {"rows": [*rows], "answered": len(good), "failed": failed, "seconds": sum(r["duration"] for r in good)}


def test_batch_html_has_a_labelled_row_per_recording():
    page = Tree(
        batch_html(batch_of(answered(confident=False), answered(agree=False, warnings=["baseline: <x>"]), REFUSED))
    )
    doubtful, differing, bad = page.texts("tr")[1:]
    assert doubtful.startswith("clip.wavlow confidence:")
    for words in ("happy 91 %", "happy 52 %", "3.5 s", "The models disagree.", "Baseline: <x>."):
        assert words in differing
    assert "disagree" not in doubtful
    assert bad == "bad.wavNot analysed. Not an audio file that can be read."  # its name once
    assert [row["class"] for row in page.attributes("tr")[1:]] == ["", "", "ser-refused"]
    assert [cell.get("data-label") for cell in page.attributes("td")[:4]] == list(HEADS[1:])
    assert [head["scope"] for head in page.attributes("th")] == ["col"] * len(HEADS) + ["row"] * 3
    # Stacked by the style sheet the rows would be no table any more, were it not for the roles.
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    for tag, role in roles.items():
        assert {attributes["role"] for attributes in page.attributes(tag)} == {role}


@pytest.mark.parametrize(
    ("batch", "numbers"),
    [
        (batch_of(answered()), "1 3.5 1 1"),
        (batch_of(answered(), answered(agree=False, duration=116.3), REFUSED), "2 2 0 1 2 1"),
        (batch_of(REFUSED, left_out=3), "0 4"),
    ],
)
def test_batch_html_sums_up(batch, numbers):
    summary = Tree(batch_html(batch)).texts("p")[0]
    assert re.findall(r"\d[\d.]*\b", summary) == numbers.split()


def test_batch_html_escapes_what_strangers_write():
    evil = "<img src=x onerror=alert(1)>"
    rows = (answered(file=evil, label=evil, baseline=evil, warnings=[evil]), REFUSED | {"file": evil, "error": evil})
    assert Tree(batch_html(batch_of(*rows))).attributes("img") == []


def test_batch_html_says_that_there_are_no_files(analyser):
    for files in (None, []):
        batch = run_batch(analyser, files)
        assert batch["rows"] == []
        assert batch["error"] in batch_html(batch)


def csv_of(rows: list[dict], labels: list[str], folder: Path) -> list[dict[str, str]]:
    path = folder / "batch.csv"
    write_csv({"rows": rows}, labels, path)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return [dict.fromkeys(reader.fieldnames, ""), *reader]


def test_csv_holds_every_row_and_probability(analyser, recordings, tmp_path):
    batch = run_batch(analyser, [str(recordings / name) for name in ("clip.wav", "long.flac", "bad.wav")])
    heads, *rows = csv_of(batch["rows"], LABELS, tmp_path)
    probabilities = [f"{prefix}p_{label}" for prefix in ("", "baseline_") for label in LABELS]
    assert list(heads) == [*COLUMNS, *probabilities, "warnings", "error"]
    for row, answer in zip(rows[:2], batch["rows"], strict=False):
        assert {column: row[column] for column in COLUMNS} == {column: str(answer[column]) for column in COLUMNS}
        assert row["warnings"] == "; ".join(answer["warnings"])
        for label in LABELS:
            assert float(row[f"p_{label}"]) == answer["scores"][label]
            assert float(row[f"baseline_p_{label}"]) == answer["baseline_scores"][label]
    assert rows[2] == heads | {"file": "bad.wav", "error": batch["rows"][2]["error"]}


def test_csv_takes_odd_labels_and_names(tmp_path):
    row = csv_of([answered(file="\udcff.wav", baseline_scores={"bored": 1.0})], ["happy"], tmp_path)[1]
    assert row["file"] == "\\udcff.wav"
    assert (row["p_happy"], row["baseline_p_bored"], row["baseline_p_happy"]) == ("0.91", "1.0", "")
    assert len(csv_of([], ["happy"], tmp_path)) == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
dangerous = st.tuples(st.sampled_from(FORMULA_STARTS), texts).map("".join)


@given(st.lists(st.tuples(texts | dangerous, texts | dangerous)))
def test_csv_holds_no_formula(cells):
    """A spreadsheet would run a name such as ``=HYPERLINK(...)``: such texts get an apostrophe, others stay."""
    rows = [answered(file=file, warnings=[text]) for file, text in cells]
    with tempfile.TemporaryDirectory() as folder:
        table = csv_of(rows, ["happy"], Path(folder))[1:]
    for row, originals in zip(table, cells, strict=True):
        for cell, original in zip((row["file"], row["warnings"]), originals, strict=True):
            assert cell == ("'" + original if original.startswith(FORMULA_STARTS) else original)
