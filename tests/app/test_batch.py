import contextlib
import io
import json
import struct
import tempfile
import tracemalloc
import zipfile
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from app.batch import find_recordings, run_batch
from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError
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
    return {
        "file": answer["file"],
        "label": model["label"],
        "confidence": max(model["scores"].values()),
        "confident": model["confident"],
        "baseline": baseline["label"],
        "baseline_confident": baseline["confident"],
        "baseline_confidence": max(baseline["scores"].values()),
        "agree": model["label"] == baseline["label"],
        "duration": answer["duration"],
        "warnings": answer["warnings"] + model["warnings"] + [f"baseline: {text}" for text in baseline["warnings"]],
        "scores": model["scores"],
        "baseline_scores": baseline["scores"],
    }


def test_rows_are_the_answers_for_each_file_alone_in_the_order_given(analyser, recordings, tmp_path):
    files = [str(recordings / name) for name in ("long.flac", "bad.wav", "clip.wav", "silence.wav", "empty.wav")]
    archive = pack(tmp_path / "set.zip", {"b/sad.wav": VOICES["sad"], "a.wav": VOICES["happy"], "none.wav": b""})
    batch = run_batch(analyser, [files[0], archive, *files[1:]])
    alone = [analyser.answer(file, Path(file).name) for file in files]
    inside = [
        analyser.answer({"bytes": content, "path": name}, name)
        for name, content in (
            ("set.zip/b/sad.wav", VOICES["sad"]),
            ("set.zip/a.wav", VOICES["happy"]),
            ("set.zip/none.wav", b""),
        )
    ]
    expected = [alone[0], *inside, *alone[1:]]
    assert batch["rows"] == [answer if "error" in answer else expected_row(answer) for answer in expected]
    assert (batch["answered"], batch["failed"]) == (4, 4)
    assert batch["seconds"] == pytest.approx(sum(answer.get("duration", 0) for answer in expected), abs=1e-3)
    assert json.loads(json.dumps(batch)) == batch


def test_warnings_of_the_baseline_alone_are_told_as_such(analyser, recordings):
    baseline = copy(analyser.baseline)
    baseline.window_seconds = 2.5
    row = run_batch(replace(analyser, baseline=baseline), [str(recordings / "long.flac")])["rows"][0]
    assert any(warning.startswith("baseline: longer than the model's window of 2.5 s") for warning in row["warnings"])
    assert any(warning.startswith("longer than") for warning in row["warnings"])


def test_no_files_are_told_in_words(analyser):
    for files in (None, []):
        batch = run_batch(analyser, files)
        assert batch["rows"] == []
        assert "no files yet" in batch["error"]


def test_same_names_stay_as_they_are(analyser, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    files = [put(tmp_path / folder / "clip.wav", VOICES["sad"]) for folder in ("one", "two")]
    assert [row["file"] for row in run_batch(analyser, files)["rows"]] == ["clip.wav", "clip.wav"]


def test_path_of_the_server_is_in_no_row(analyser, recordings, tmp_path):
    files = [put(tmp_path / "torn.zip", b"PK\x03\x04torn"), str(tmp_path / "gone.wav"), str(tmp_path)]
    files.append(pack(tmp_path / "odd.zip", {"x.wav": b"no sound"}))
    files += [str(recordings / name) for name in ("bad.wav", "silence.wav", "short.wav", "clip.wav")]
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"] if "error" not in row] == ["clip.wav"]
    for folder in (tmp_path, recordings):
        assert str(folder) not in json.dumps(batch)


def test_progress_is_reported_after_each_recording(analyser, recordings, tmp_path):
    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["sad"], "b.wav": b"no sound"})
    reports = []
    run_batch(analyser, [str(recordings / "bad.wav"), archive], lambda *report: reports.append(report))
    assert reports == [(1, 3, "bad.wav"), (2, 3, "set.zip/a.wav"), (3, 3, "set.zip/b.wav")]


def test_recordings_in_an_archive_are_chosen_by_name_and_the_rest_is_passed_over(tmp_path):
    names = ["z.wav", "in/a.MP3", "in\\b.flac", ".hidden/c.ogg"]
    others = ["notes.txt", ".d.wav", "in/._a.mp3", "in\\._b.flac", "__MACOSX/e.wav", "in/__MACOSX/f.wav", "more.zip"]
    others += ["folder.wav/", "wav"]
    archive = pack(tmp_path / "set.zip", dict.fromkeys([*others[:4], *names, *others[4:]], b""))
    assert [recording.name for recording in find_recordings([archive], Limits())] == [f"set.zip/{n}" for n in names]


def test_archive_is_known_by_its_content_and_a_loose_file_is_tried_whatever_its_name(analyser, tmp_path):
    files = [pack(tmp_path / "set.dat", {"a.wav": VOICES["sad"]})]
    files += [put(tmp_path / name, VOICES["sad"]) for name in ("voice.zip", "voice.txt", "voice")]
    # An archive hung on behind leaves a recording a recording.
    files.append(put(tmp_path / "both.wav", VOICES["sad"] + Path(files[0]).read_bytes()))
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"]] == ["set.dat/a.wav", "voice.zip", "voice.txt", "voice", "both.wav"]
    assert batch["failed"] == 0


def test_archive_without_recordings_is_one_row(analyser, tmp_path):
    files = [pack(tmp_path / "empty.zip", {}), pack(tmp_path / "texts.zip", {"a.txt": b"", "b.zip": VOICES["sad"]})]
    batch = run_batch(analyser, files)
    assert [row["file"] for row in batch["rows"]] == ["empty.zip", "texts.zip"]
    assert all("holds no recordings" in row["error"] for row in batch["rows"])


def damage_checksum(path: str) -> None:
    patch(path, 16, 14, "<L", 1)


def damage_content(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[60:80] = bytes(20)
    Path(path).write_bytes(content)


def point_before_the_start(path: str) -> None:
    """The archive claims to begin ten bytes later than it does; the second entry is where it was."""
    content = bytearray(Path(path).read_bytes())
    for place in (content.rindex(b"PK\x05\x06") + 16, content.rindex(CENTRAL) + 42):
        struct.pack_into("<L", content, place, struct.unpack_from("<L", content, place)[0] + 10)
    Path(path).write_bytes(content)


def point_beyond_every_disk(path: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.infolist()[0].header_offset = 2**64 - 1
        archive.writestr("notes.txt", "")  # so that the list is written anew


def claim_more_than_the_file(path: str) -> None:
    patch(path, 10, 8, "<H", zipfile.ZIP_STORED)
    for central, local in ((20, 18), (24, 22)):
        patch(path, central, local, "<L", 2_000_000)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: patch(path, 8, 6, "<H", 1), "password", id="encrypted"),
        pytest.param(damage_checksum, "damaged", id="checksum"),
        pytest.param(damage_content, "damaged", id="content"),
        pytest.param(lambda path: patch(path, 24, 22, "<L", 1000), "damaged", id="claims less than it holds"),
        pytest.param(lambda path: patch(path, 24, 22, "<L", 2_000_000), "damaged", id="claims more than it holds"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", zipfile.ZIP_BZIP2), "unusual", id="bzip2"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", zipfile.ZIP_LZMA), "unusual", id="lzma"),
        pytest.param(lambda path: patch(path, 10, 8, "<H", 99), "unusual", id="unknown method"),
        pytest.param(lambda path: patch(path, 8, 6, "<H", 0x20), "damaged", id="patch data"),
        pytest.param(lambda path: patch(path, 42, None, "<L", 5), "damaged", id="points astray"),
        pytest.param(lambda path: patch(path, 42, None, "<L", 2**31), "damaged", id="points behind the end"),
        pytest.param(point_before_the_start, "damaged", id="points before the start"),
        pytest.param(point_beyond_every_disk, "damaged", id="points beyond every disk"),
        pytest.param(claim_more_than_the_file, "damaged", id="claims more than the file"),
    ],
)
def test_bad_entry_is_a_row_and_the_others_are_answered(analyser, tmp_path, spoil, words):
    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["happy"], "b.wav": VOICES["sad"]})
    spoil(archive)
    rows = run_batch(analyser, [archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip/a.wav", "set.zip/b.wav"]
    assert rows[0]["reason"] == "unreadable"
    assert rows[0]["error"].startswith("set.zip/a.wav: ")
    assert words in rows[0]["error"]
    assert "error" not in rows[1]


def test_torn_archive_is_a_row_and_the_others_are_answered(analyser, tmp_path):
    whole = Path(pack(tmp_path / "set.zip", {"a.wav": VOICES["happy"]})).read_bytes()
    files = [put(tmp_path / "torn.zip", whole[:5000]), put(tmp_path / "a.wav", VOICES["sad"])]
    rows = run_batch(analyser, files)["rows"]
    assert rows[0]["file"] == "torn.zip"
    assert "damaged zip archive" in rows[0]["error"]
    assert "error" not in rows[1]


SMALL = io.BytesIO()
with zipfile.ZipFile(SMALL, "w") as small:
    small.writestr("a/é.wav", bytes(range(200)))
    small.writestr("b.wav", bytes(2000), zipfile.ZIP_DEFLATED)
    with small.open("c.wav", "w", force_zip64=True) as entry:
        entry.write(bytes(300))


@given(st.lists(st.tuples(st.integers(4, len(SMALL.getvalue()) - 1), st.binary(min_size=1, max_size=4)), min_size=1))
def test_no_damage_to_an_archive_ends_the_batch(patches):
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


def test_bomb_costs_no_memory_whether_its_header_tells_or_lies(analyser, tmp_path):
    bomb, liar = (pack(tmp_path / f"{name}.zip", {"a.wav": bytes(60_000_000)}) for name in ("bomb", "liar"))
    patch(liar, 24, 22, "<L", 100_000)
    tracemalloc.start()
    batch = run_batch(replace(analyser, limits=Limits(megabytes=1)), [bomb, liar])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["reason"] for row in batch["rows"]] == ["too large", "unreadable"]
    assert "60 MB" in batch["rows"][0]["error"]
    assert peak < 10e6


def test_no_more_is_unpacked_than_the_header_claims_whatever_comes(analyser, tmp_path, monkeypatch):
    reads = iter(range(10))  # of a source that never ends

    def read(self: zipfile.ZipExtFile, size: int) -> bytes:
        next(reads)
        return bytes(size)

    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["sad"]})
    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    assert "damaged" in run_batch(analyser, [archive])["rows"][0]["error"]
    assert next(reads) == 1


def test_archive_with_a_list_too_long_to_go_through_is_refused_unread(analyser, tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", {f"{'x' * 200}{number}.wav": b"" for number in range(5000)})
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # nothing of the list may be looked at
    rows = run_batch(analyser, [archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip"]
    assert "too many files" in rows[0]["error"]


def test_nothing_is_unpacked_to_disk(analyser, tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", {"../../a.wav": VOICES["sad"], "/b.wav": VOICES["sad"]})
    empty = tmp_path / "deep" / "deeper"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    assert run_batch(analyser, [archive])["answered"] == 2
    assert {path.name for path in tmp_path.rglob("*")} == {"set.zip", "deep", "deeper"}


def test_recording_larger_than_one_may_be_is_refused_loose_or_packed(analyser, tmp_path):
    large = bytes(1_500_000)
    files = [put(tmp_path / "a.wav", large), pack(tmp_path / "set.zip", {"b.wav": large, "c.wav": VOICES["sad"]})]
    rows = run_batch(replace(analyser, limits=Limits(megabytes=1)), files)["rows"]
    assert [row.get("reason") for row in rows] == ["too large", "too large", None]


def test_recordings_beyond_the_number_of_a_batch_are_left_out_and_said_to_be(analyser, tmp_path):
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


def test_bytes_beyond_those_of_a_batch_are_refused_by_name(analyser, tmp_path):
    loose = put(tmp_path / "a.wav", SILENCE)
    archive = pack(tmp_path / "set.zip", {"b.wav": SILENCE, "c.wav": VOICES["sad"]})
    limited = replace(analyser, limits=Limits(batch_megabytes=1))
    rows = run_batch(limited, [loose, archive, loose])["rows"]
    assert [row.get("reason") for row in rows] == ["silence", "batch too large", None, "batch too large"]
    assert [row["file"] for row in rows] == ["a.wav", "set.zip/b.wav", "set.zip/c.wav", "a.wav"]
    assert "1 MB" in rows[1]["error"]


def test_archives_are_not_even_opened_beyond_the_bytes_of_a_batch(analyser, tmp_path):
    noise = np.random.default_rng(0).bytes(600_000)
    archive = pack(tmp_path / "set.zip", {"a.wav": VOICES["sad"], "noise.txt": noise})
    limited = replace(analyser, limits=Limits(batch_megabytes=1))
    rows = run_batch(limited, [archive, archive])["rows"]
    assert [row["file"] for row in rows] == ["set.zip/a.wav", "set.zip"]
    assert rows[1]["reason"] == "batch too large"


def test_what_is_not_reached_in_time_is_left_out_and_said_to_be(analyser, tmp_path):
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
