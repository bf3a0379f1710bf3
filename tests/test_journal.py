"""A journal gives back whole rows of unchanged recordings, whatever cut it off."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.journal import Journal, model_key


@pytest.fixture
def recordings(tmp_path):
    names = []
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(name.encode())
        names.append(str(tmp_path / name))
    return names


def fill(output, names, key="model"):
    with Journal(output, key) as journal:
        for name in names:
            journal.add({"file": name, "label": f"of {os.path.basename(name)}"})
        return journal.path


def test_rows_come_back_in_the_order_that_is_asked_for(recordings, tmp_path):
    output = tmp_path / "answers.csv"
    path = fill(output, recordings)
    with Journal(output, "model") as journal:
        assert all(name in journal for name in recordings)
        wanted = [recordings[2], recordings[0], recordings[2]]
        assert [row["file"] for row in journal.rows(wanted)] == wanted
        journal.remove()
    assert not path.exists()


def test_a_recording_that_changed_is_asked_again(recordings, tmp_path):
    output = tmp_path / "answers.csv"
    fill(output, [*recordings, str(tmp_path / "absent.wav")])
    (tmp_path / "b.wav").write_bytes(b"longer than before")
    os.utime(tmp_path / "c.wav", ns=(1, 1))
    (tmp_path / "absent.wav").write_bytes(b"now here")
    with Journal(output, "model") as journal:
        assert [name in journal for name in recordings] == [True, False, False]
        assert str(tmp_path / "absent.wav") not in journal
        journal.add({"file": recordings[1], "label": "new"})
        assert next(journal.rows([recordings[1]]))["label"] == "new"


def test_another_model_begins_anew_and_leaves_the_first_alone(recordings, tmp_path):
    output = tmp_path / "answers.csv"
    fill(output, recordings)
    with Journal(output, "another") as journal:
        assert recordings[0] not in journal
        journal.remove()
    with Journal(output, "model") as journal:
        assert recordings[0] in journal


@given(cut=st.integers(0, 400), rest=st.binary(max_size=20))
def test_what_is_whole_survives_a_cut_at_any_byte(cut, rest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    names = [str(folder / f"{number}.wav") for number in range(3)]
    path = fill(folder / "answers", names)
    lines = path.read_bytes().splitlines(keepends=True)
    kept = b"".join(lines)[:cut]
    whole = next(n for n in range(3, -1, -1) if len(b"".join(lines[:n])) <= len(kept))
    path.write_bytes(kept + rest.replace(b"\n", b" "))
    with Journal(folder / "answers", "model") as journal:
        assert [name in journal for name in names] == [number < whole for number in range(3)]
        journal.add({"file": names[2], "label": "again"})
    with Journal(folder / "answers", "model") as journal:
        assert next(journal.rows([names[2]]))["label"] == "again"


def test_a_model_folder_is_known_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = model_key(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert model_key(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert model_key(tmp_path) != before
