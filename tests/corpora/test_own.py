"""Own recordings: every form of source gives the same clip table, and bad data give messages that name them."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from datasets import Audio, Dataset

from ser_hf.corpora.files import CorpusError
from ser_hf.corpora.own import load_clips
from ser_hf.hub import log_in, push_folder

RATE = 16_000
SPEAKERS = ("anna", "ben", "cleo", "eve", "finn")
LABELS = ("bored", "glad")
PATTERN = r"/(\w+)-\d"


def tone(path: Path, seed: int, seconds: float = 0.5, level: float = 0.1) -> Path:
    """A recording that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    soundfile.write(path, level * np.tanh(noise), RATE, format="FLAC" if path.suffix == ".flac" else "WAV")
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder per label, with two clips of each speaker in each."""
    data = tmp_path / "My clips"
    names = [f"{label}/{speaker}-{take}.wav" for label in LABELS for speaker in SPEAKERS for take in (1, 2)]
    for seed, name in enumerate(names):
        tone(data / name, seed)
    return data


@pytest.fixture
def rows(folder):
    """The same clips as a table."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.wav"))
    return pd.DataFrame(
        {
            "file": [str(file) for file in files],
            "label": [file.parent.name for file in files],
            "speaker": [file.stem.split("-")[0] for file in files],
        }
    )


def as_csv(folder, rows, work):
    rows.to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


def as_tsv(folder, rows, work):
    rows.rename(columns={"file": "path", "label": "emotion"}).to_csv(folder / "clips.tsv", sep="\t", index=False)
    return folder / "clips.tsv"


def as_jsonl(folder, rows, work):
    rows.to_json(folder / "clips.jsonl", orient="records", lines=True)
    return folder / "clips.jsonl"


def as_metadata(folder, rows, work):
    rows.rename(columns={"file": "file_name"}).to_csv(folder / "metadata.csv", index=False)
    return folder


def as_excel(folder, rows, work):
    rows.to_csv(folder / "clips.csv", sep=";", index=False, encoding="utf-8-sig")
    return folder / "clips.csv"


def dataset(folder, rows):
    audio = [{"path": Path(file).name, "bytes": (folder / file).read_bytes()} for file in rows["file"]]
    table = Dataset.from_dict({"audio": audio, **{name: rows[name].tolist() for name in ("label", "speaker")}})
    return table.cast_column("audio", Audio(decode=False)).class_encode_column("label")


def as_saved(folder, rows, work):
    dataset(folder, rows).save_to_disk(str(work / "saved"))
    return work / "saved"


def as_shards(folder, rows, work):
    table = dataset(folder, rows)
    (work / "shards/data").mkdir(parents=True)
    for index in range(2):
        table.shard(2, index, contiguous=True).to_parquet(work / f"shards/data/train-{index:05d}-of-00002.parquet")
    return work / "shards"


def as_zip(folder, rows, work):
    with zipfile.ZipFile(work / "clips.zip", "w") as zipped:
        for file in rows["file"]:
            zipped.write(folder / file, f"My clips/{file}")
    return work / "clips.zip"


FORMS = (as_csv, as_tsv, as_jsonl, as_metadata, as_excel, as_saved, as_shards, as_zip)


@pytest.mark.parametrize("form", FORMS)
def test_load_clips_gives_the_same_table(folder, rows, tmp_path, monkeypatch, form):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path / "cache"))
    expected, _ = load_clips(folder, speaker_pattern=PATTERN)
    source = form(folder, rows, tmp_path)
    table, findings = load_clips(source, speaker_pattern=PATTERN if form is as_zip else None)
    for column in ("emotion", "speaker"):
        assert table[column][:] == expected[column][:]
    assert table.features["emotion"].names == list(LABELS)
    assert findings.speakers == dict.fromkeys(SPEAKERS, 4)
    assert [Path(clip).name for clip in table["clip"]] == [Path(clip).name for clip in expected["clip"]] or form in (
        as_saved,
        as_shards,
    )
    assert not findings.left_out
    assert not findings.problems


def test_load_clips_reads_a_dataset_of_the_hub(hub, folder, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    shards = as_shards(folder, rows, tmp_path)
    files = [f"data/{path.name}" for path in sorted((shards / "data").iterdir())]
    (shards / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n")
    commit = push_folder(log_in(["alice/voices"]), shards, "alice/voices", "Add", "dataset").commit
    table, findings = load_clips(f"alice/voices@{commit}")
    assert table["emotion"][:] == load_clips(folder)[0]["emotion"][:]
    assert findings.speakers == dict.fromkeys(SPEAKERS, 4)
    with pytest.raises(CorpusError, match="alice/none"):
        load_clips("alice/none")


def test_load_clips_maps_and_picks_labels(folder):
    for seed in (50, 51):
        tone(folder / "joy" / f"anna-{seed}.wav", seed)
    table, _ = load_clips(folder, label_map={"happy": ["glad", "joy"]}, labels=["happy", "bored"])
    assert table.features["emotion"].names == ["happy", "bored"]
    assert table["emotion"][:].count(0) == 12


def test_load_clips_keeps_columns_and_split(folder, rows):
    rows["split"] = ["test" if speaker == "cleo" else "Train" for speaker in rows["speaker"]]
    rows["room"] = "kitchen"
    table, _ = load_clips(as_csv(folder, rows, None))
    assert set(table["split"]) == {"train", "test"}
    assert set(table["room"]) == {"kitchen"}
    only, _ = load_clips(folder / "clips.csv", split="test")
    assert set(only["speaker"]) == {"cleo"}


def test_load_clips_leaves_out_what_cannot_be_used(folder):
    (folder / "glad/broken.wav").write_bytes(b"RIFF no sound at all")
    (folder / "glad/empty.wav").write_bytes(b"")
    tone(folder / "glad/silent.wav", 60, level=0)
    tone(folder / "glad/short.wav", 61, seconds=0.1)
    shutil.copy(folder / "glad/anna-1.wav", folder / "glad/again.wav")
    shutil.copy(folder / "glad/ben-1.wav", folder / "bored/both.wav")
    tone(folder / "gladd/anna-9.wav", 62)
    table, findings = load_clips(folder)
    reasons = {clip: findings.left_out.get(clip) for clip in findings.left_out}
    assert reasons["glad/silent.wav"] == "silent"
    assert reasons["glad/short.wav"] == "too short"
    assert reasons["glad/broken.wav"] == reasons["glad/empty.wav"] == "cannot be read"
    assert {"glad/ben-1.wav", "bored/both.wav"} <= set(reasons)
    assert len({"glad/again.wav", "glad/anna-1.wav"} & set(reasons)) == 1
    assert "glad=gladd" in reasons["gladd/anna-9.wav"]
    assert len(table) == 19
    assert "glad/silent.wav" in str(findings)


def test_load_clips_chooses_files_by_content(folder):
    """Recordings whose suffix says nothing are clips; what is no recording is named, unless it is hidden."""
    (folder / "glad/anna-1.wav").rename(folder / "glad/anna-1")
    for name in ("notes.txt", "glad/ben-1.lab", "glad/.DS_Store", "__MACOSX/a.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("words")
    table, findings = load_clips(folder)
    assert len(table) == 20
    assert "glad/anna-1" in table["clip"][:]
    assert set(findings.left_out) == {"notes.txt", "glad/ben-1.lab"}


def test_load_clips_finds_problems(folder):
    for seed in range(100, 200):
        tone(folder / "bored" / f"dan-{seed}.wav", seed, seconds=0.3)
    _, findings = load_clips(folder, speaker_pattern=PATTERN)
    assert any("unequal" in problem for problem in findings.problems)
    assert any("dan" in problem for problem in findings.problems)
    _, findings = load_clips(folder)
    assert not findings.speakers
    assert any("speaker" in problem for problem in findings.problems)


def spoiled(rows, **values):
    """The rows with other values in the second row."""
    spoilt = rows.copy()
    for name, value in values.items():
        spoilt.loc[1, name] = value
    return spoilt


BAD_ROWS = {
    "missing file": (lambda rows: spoiled(rows, file="bored/nobody.wav"), ("bored/nobody.wav", "row 2")),
    "missing absolute file": (lambda rows: spoiled(rows, file="/nowhere/a.wav"), ("/nowhere/a.wav", "row 2")),
    "missing file above": (lambda rows: spoiled(rows, file="../a.wav"), ("../a.wav", "row 2")),
    "no file": (lambda rows: spoiled(rows, file=None), ("row 2",)),
    "no label": (lambda rows: spoiled(rows, label=None), ("row 2", "label")),
    "blank label": (lambda rows: spoiled(rows, label="  "), ("row 2", "label")),
    "no speaker": (lambda rows: spoiled(rows, speaker=None), ("row 2", "speaker")),
    "no column of files": (lambda rows: rows.rename(columns={"file": "sound"}), ("--audio_column", "sound")),
    "no column of labels": (
        lambda rows: rows.rename(columns={"label": "mood"}).assign(file=[Path(file).name for file in rows["file"]]),
        ("--label_column", "mood"),
    ),
    "one label": (lambda rows: rows.assign(label="glad"), ("glad", "two labels")),
    "a clip per label": (lambda rows: rows.assign(label=[f"l{row}" for row in range(len(rows))]), ("only clip",)),
    "unknown split": (lambda rows: rows.assign(split="somewhere"), ("somewhere", "split")),
    "speaker in both splits": (lambda rows: rows.assign(split=["train", "test"] * 10), ("anna", "split")),
    "no rows": (lambda rows: rows[:0], ("clips.csv",)),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_load_clips_names_what_is_wrong(folder, rows, case):
    spoil, named = BAD_ROWS[case]
    with pytest.raises(CorpusError) as caught:
        load_clips(as_csv(folder, spoil(rows), None))
    for word in named:
        assert word in str(caught.value)


BAD_OPTIONS = {
    "another column": ({"label_column": "lable"}, "label"),
    "another label": ({"labels": ["glad", "bord"]}, "bored"),
    "another old label": ({"label_map": {"happy": ["gladd"]}}, "glad"),
    "no regular expression": ({"speaker_pattern": "(a"}, "--speaker_pattern"),
    "no group": ({"speaker_pattern": "anna"}, "--speaker_pattern"),
    "pattern without match": ({"speaker_pattern": "(anna)"}, "ben-1.wav"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_load_clips_names_a_wrong_option(folder, rows, case):
    options, named = BAD_OPTIONS[case]
    with pytest.raises(CorpusError, match=named):
        load_clips(as_csv(folder, rows, None), **options)


def test_load_clips_refuses_other_sources(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loose").mkdir()
    tone(tmp_path / "loose/a.wav", 0)
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    (tmp_path / "notes.docx").write_bytes(b"\x00\xff")
    (tmp_path / "bad.jsonl").write_text("{not json", encoding="utf-8")
    for name in ("nothing-there", "empty", "loose", "bad.zip", "notes.docx", "bad.jsonl"):
        with pytest.raises(CorpusError, match=name):
            load_clips(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_load_clips_reads_tables_of_any_encoding(folder, rows, encoding):
    rows["label"] = rows["label"].replace("bored", "müde")
    rows.to_csv(folder / "clips.csv", index=False, encoding=encoding, quoting=csv.QUOTE_ALL)
    table, _ = load_clips(folder / "clips.csv")
    assert table.features["emotion"].names == ["glad", "müde"]


def test_load_clips_names_rows_of_one_file_with_two_labels(folder, rows):
    twice = pd.concat([rows, spoiled(rows, label="glad")[1:2]], ignore_index=True)
    table, findings = load_clips(as_csv(folder, twice, None))
    assert "bored/anna-2.wav" in findings.left_out
    assert len(table) == 19
