"""Own recordings with own labels, as a clip table.

What is known of a clip comes from columns (file, label, speaker, split) or, in a folder per label, from the folder's
name. Clips that cannot be used are left out, and `Findings` says which and why.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from datasets import Audio, ClassLabel, Dataset, Features, Value

from ser_hf.audio import AudioError, SilenceError, TooShortError, check_speech, read_audio
from ser_hf.corpora.corpus import COLUMNS
from ser_hf.corpora.files import CorpusError
from ser_hf.corpora.sources import BASE, LEFT_OUT, SPLIT, SPLITS, read_rows
from ser_hf.utils.names import nearest, some, unknown_name

# Column of the clip table -> the option that names it, and its usual names in lower case, the likeliest first.
NAMED_BY = {
    "audio": ("--audio_column", ("file", "path", "audio", "file_name", "filename", "wav")),
    "emotion": ("--label_column", ("label", "emotion", "class")),
    "speaker": ("--speaker_column", ("speaker", "speaker_id", "actor")),
}
GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}
REASONS = {SilenceError: "silent", TooShortError: "too short"}
FEW_SPEAKERS = 5
IMBALANCE = 10  # clips of the largest label to those of the smallest, from which a warning is due


@dataclass
class Findings:
    """What was found in own recordings; as a string, a summary of some lines.

    Attributes:
        name: of the recordings as a whole.
        left_out: clip -> why it is not in the table.
        problems: what is wrong with the table as a data set, a sentence each.
        labels: label -> number of clips.
        speakers: speaker -> number of clips; empty where speakers are not known.
        seconds: duration of each clip.
        rates: sample rate in Hz -> number of clips.
    """

    name: str
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    speakers: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    rates: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        seconds = np.array(self.seconds)
        lines = [
            f"{self.name}: {len(seconds)} clips of {seconds.min():.1f} to {seconds.max():.1f} s, "
            f"{seconds.sum() / 60:.1f} min in all",
            f"  labels: {_counted(self.labels)}",
            f"  speakers: {_counted(self.speakers) or 'not known'}",
            f"  sample rates: {_counted({f'{rate} Hz': count for rate, count in sorted(self.rates.items())})}",
            *(f"  left out, {reason}" for reason in self.reasons()),
            *(f"  problem: {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)

    def reasons(self) -> list[str]:
        """Why clips were left out: a line per reason, with the first few of them."""
        by_reason: dict[str, list[str]] = {}
        for clip, reason in self.left_out.items():
            by_reason.setdefault(reason, []).append(clip)
        return [f"{reason}: {some(clips)}" for reason, clips in by_reason.items()]


def load_clips(
    source: str | Path,
    *,
    audio_column: str | None = None,
    label_column: str | None = None,
    speaker_column: str | None = None,
    split: str | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    labels: Sequence[str] | None = None,
    speaker_pattern: str | None = None,
) -> tuple[Dataset, Findings]:
    """The clip table of own recordings, and what was found in them.

    >>> load_clips("my_clips")
    Traceback (most recent call last):
        ...
    ser_hf.corpora.files.CorpusError: my_clips: there is no such file or folder ...

    Args:
        source: a folder per label (``LABEL/clip.wav``, or deeper); a folder with a ``metadata.csv`` as datasets'
            audiofolder has it; a CSV, TSV, JSONL or Parquet file with a row per clip and paths relative to it; a folder
            that `datasets.Dataset.save_to_disk` wrote, or of parquet shards; a zip of any of these; or a dataset of the
            Hub as USER/NAME.
        audio_column, label_column, speaker_column: names of columns (default: the usual ones, see `NAMED_BY`).
        split: the one split to take (default: all, as a column ``split``).
        label_map: new label -> the labels that become it.
        labels: only these labels, after ``label_map``, in this order (default: all, by name).
        speaker_pattern: regular expression; its first group, found in a clip's path, is the speaker.

    Returns:
        A clip table as of `load_corpus`, with the further columns of the source. ``corpus`` is the source's name,
        ``speaker`` None where it is not known, ``split`` "train", "validation" or "test".

    Raises:
        CorpusError: the source, a column, a file or a value of a row is missing or wrong, or fewer than two labels have
            two usable clips.
    """
    rows, name = read_rows(source, split)
    findings = Findings(name, dict.fromkeys(rows.attrs.get(LEFT_OUT, ()), "no recordings"))
    rows = _with_named_columns(rows, name, (audio_column, label_column, speaker_column))
    rows = _with_located_audio(rows, name)
    rows["emotion"] = _mapped(_texts(rows, "emotion", name), label_map or {}, name)
    if speaker_pattern is not None:
        rows["speaker"] = _speakers_in_paths(rows["clip"], speaker_pattern)
    else:
        rows["speaker"] = _texts(rows, "speaker", name) if "speaker" in rows else None
    if SPLIT in rows:
        rows[SPLIT] = _splits(rows, name)
    present = sorted(set(rows["emotion"]))
    for label in labels or ():
        if label not in present:
            raise CorpusError(f"{name}: --labels: {unknown_name('label', label, present)}")
    chosen = list(dict.fromkeys(labels or present))
    rows = _usable(rows[rows["emotion"].isin(chosen)], findings)
    rows, chosen = _frequent_enough(rows, chosen, findings)
    if len(chosen) < 2:
        reasons = "".join(f"\nleft out, {reason}" for reason in findings.reasons())
        raise CorpusError(f"{name}: training needs two labels with two usable clips each; found {chosen}{reasons}")
    _describe(rows, chosen, findings)
    return _clip_table(rows, chosen, name), findings


def _with_named_columns(rows: pd.DataFrame, name: str, chosen: Sequence[str | None]) -> pd.DataFrame:
    """Give the columns of audio, label and speaker the names that they have in a clip table."""
    columns = {str(column).lower(): column for column in rows if column != BASE}
    renamed = {}
    for (column, (option, usual)), wanted in zip(NAMED_BY.items(), chosen, strict=True):
        if wanted is not None and wanted not in rows:
            raise CorpusError(f"{name}: {option}: {unknown_name('column', wanted, columns)}")
        found = wanted or next((columns[one] for one in usual if one in columns), None)
        if found is not None:
            renamed[found] = column
    missing = [column for column in ("audio", "emotion") if column not in renamed.values()]
    rows = rows.rename(columns=renamed)
    if missing == ["emotion"] and all(len(Path(str(audio)).parts) > 1 for audio in rows["audio"]):
        return rows.assign(emotion=[Path(audio).parent.name for audio in rows["audio"]])
    if missing:
        option, usual = NAMED_BY[missing[0]]
        raise CorpusError(
            f"{name}: no column is called {', '.join(usual[:-1])} or {usual[-1]}; it has {', '.join(columns)}: "
            f"name one by {option}"
        )
    return rows


def _with_located_audio(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Turn each row's audio into a dict of path and bytes, and name its clip."""
    clips, audio, missing, seen = [], [], [], set()
    for position, (value, base) in enumerate(zip(rows["audio"], rows[BASE], strict=True), start=1):
        stored = value if isinstance(value, dict) else {"path": value, "bytes": None}
        path = stored["path"] if isinstance(stored["path"], str) and stored["path"].strip() else None
        if path is None and stored["bytes"] is None:
            missing.append(f"row {position} names none")
        located = None if path is None else str(Path(base, Path(path.strip()).expanduser()))
        if located is not None and stored["bytes"] is None and not Path(located).is_file():
            missing.append(f"{path} (row {position})")
        clip = path.strip() if path else f"row {position}"
        clips.append(clip if clip not in seen else f"{clip} (row {position})")
        seen.add(clip)
        audio.append({"path": located, "bytes": stored["bytes"]})
    if missing:
        raise CorpusError(
            f"{name}: {len(missing)} of {len(rows)} rows have no audio file: {some(missing)}; paths are relative to "
            f"{rows[BASE].iloc[0]}. Correct or remove these rows"
        )
    return rows.drop(columns=[BASE]).assign(clip=clips, audio=audio)


def _texts(rows: pd.DataFrame, column: str, name: str) -> list[str]:
    """The values of a column as text; one that is missing is an error that names its rows."""
    values = [str(value).strip() if pd.notna(value) else "" for value in rows[column]]
    empty = [
        f"{clip} (row {row})"
        for row, (clip, value) in enumerate(zip(rows["clip"], values, strict=True), 1)
        if not value
    ]
    if empty:
        what = "label" if column == "emotion" else column
        raise CorpusError(f"{name}: {len(empty)} rows have no {what}: {some(empty)}; fill it in, or remove these rows")
    return values


def _mapped(values: list[str], label_map: Mapping[str, Sequence[str]], name: str) -> list[str]:
    new = {old: label for label, olds in label_map.items() for old in olds}
    for old in new:
        if old not in values:
            raise CorpusError(f"{name}: --label_map: {unknown_name('label', old, sorted(set(values)))}")
    return [new.get(value, value) for value in values]


def _speakers_in_paths(clips: Sequence[str], pattern: str) -> list[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise CorpusError(f"--speaker_pattern {pattern!r} is no regular expression: {error}") from None
    if expression.groups < 1:
        raise CorpusError(
            f"--speaker_pattern {pattern!r} has no group: put the speaker in brackets, as in '(spk[0-9]+)'"
        )
    matches = [expression.search(clip) for clip in clips]
    without = [clip for clip, match in zip(clips, matches, strict=True) if match is None or not match[1]]
    if without:
        raise CorpusError(f"--speaker_pattern {pattern!r} is not in {some(without)}")
    return [match[1] for match in matches if match]


def _splits(rows: pd.DataFrame, name: str) -> list[str]:
    """The splits by their one name, when no speaker is on both sides."""
    known = {value: SPLITS.get(str(value).strip().lower()) for value in rows[SPLIT].unique()}
    for value, split in known.items():
        if split is None:
            raise CorpusError(f"{name}: column split has {value!r}; it takes train, validation and test")
    splits = rows[SPLIT].map(known)
    sides = splits.replace("validation", "train").groupby(rows["speaker"]).nunique()  # of speakers that are known
    shared = sides.index[sides > 1].tolist()
    if shared:
        raise CorpusError(
            f"{name}: speakers {some(shared)} are in training and in test, so the figure would not be one of unseen "
            "speakers; divide by speaker, or leave out the column split"
        )
    return splits.tolist()


def _usable(rows: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """The rows whose audio can be predicted on; each sound once, and none that has two labels."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_inspect, rows["audio"]))
    rows = rows.assign(problem=[one.get("problem") for one in found], digest=[one["digest"] for one in found])
    rows = rows.assign(seconds=[one.get("seconds") for one in found], rate=[one.get("rate") for one in found])
    labels = rows.groupby("digest")["emotion"].nunique()
    rows.loc[rows["problem"].isna() & rows["digest"].map(labels).gt(1), "problem"] = "the same audio with two labels"
    rows.loc[rows["problem"].isna() & rows.duplicated("digest"), "problem"] = "the same audio once more"
    left_out = rows[rows["problem"].notna()]
    findings.left_out |= dict(zip(left_out["clip"], left_out["problem"], strict=True))
    return rows[rows["problem"].isna()].drop(columns=["problem", "digest"])


def _inspect(audio: dict[str, Any]) -> dict[str, Any]:
    """Digest, duration and sample rate of a recording, or what is wrong with it."""
    content = audio["bytes"] if audio["bytes"] is not None else Path(audio["path"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        recording = read_audio(audio, sample_rate=None)
        check_speech(recording)
    except AudioError as error:
        return {"digest": digest, "problem": REASONS.get(type(error), "cannot be read")}
    return {"digest": digest, "seconds": recording.duration, "rate": recording.sample_rate}


def _frequent_enough(rows: pd.DataFrame, labels: list[str], findings: Findings) -> tuple[pd.DataFrame, list[str]]:
    """The rows and labels that have two clips or more."""
    counts = rows["emotion"].value_counts()
    kept = [label for label in labels if counts.get(label, 0) > 1]
    for clip, label in rows.loc[~rows["emotion"].isin(kept), ["clip", "emotion"]].itertuples(index=False):
        close = nearest(label, kept)
        hint = f" (did you mean {close}? --label_map {close}={label})" if close else ""
        findings.left_out[clip] = f"the only clip of label {label}{hint}"
    return rows[rows["emotion"].isin(kept)].reset_index(drop=True), kept


def _describe(rows: pd.DataFrame, labels: list[str], findings: Findings) -> None:
    """Count what is left, and find what is wrong with it as a data set."""
    counts = rows["emotion"].value_counts()
    findings.labels = {label: int(counts[label]) for label in labels}
    findings.seconds = rows["seconds"].tolist()
    findings.rates = {int(rate): int(count) for rate, count in rows["rate"].value_counts().items()}
    largest, smallest = counts.idxmax(), counts.idxmin()
    if counts[largest] >= IMBALANCE * counts[smallest]:
        findings.problems.append(
            f"very unequal labels: {counts[largest]} clips of {largest}, {counts[smallest]} of {smallest}; go by UAR"
        )
    if rows["speaker"].isna().all():
        findings.problems.append(
            "speakers are not known, so that figures will be speaker-dependent and too high; give a column speaker, or "
            "--speaker_pattern"
        )
        return
    findings.speakers = {str(name): int(count) for name, count in rows["speaker"].value_counts().sort_index().items()}
    table = pd.crosstab(rows["speaker"], rows["emotion"]) > 0
    single = [str(name) for name in table.index[table.sum(axis=1) == 1]]
    if len(findings.speakers) < FEW_SPEAKERS:
        findings.problems.append(
            f"{len(findings.speakers)} speakers show little of how well other people are classified; intervals are wide"
        )
    if single:
        findings.problems.append(f"all clips have the same label for {some(single)}: a model may learn the speaker")
    for label in table.columns[table.sum(axis=0) == 1]:
        findings.problems.append(f"label {label} comes from one speaker alone, {table.index[table[label]][0]}")


def _clip_table(rows: pd.DataFrame, labels: list[str], name: str) -> Dataset:
    rows = rows.assign(emotion=[labels.index(label) for label in rows["emotion"]], corpus=name)
    if "gender" in rows:
        rows["gender"] = [GENDERS.get(str(value).strip().lower()) for value in rows["gender"]]
    rows = rows.drop(columns=["seconds", "rate"])
    features = {column: Value("string") for column in dict.fromkeys([*COLUMNS, *rows])}
    features |= {"audio": Audio(decode=False), "emotion": ClassLabel(names=labels), "repetition": Value("int64")}
    columns: dict[str, list[Any]] = {
        column: rows[column].tolist() if column in rows else [None] * len(rows) for column in features
    }
    for column, feature in features.items():
        if feature == Value("string"):
            columns[column] = [None if pd.isna(value) else str(value) for value in columns[column]]
        elif column == "repetition":
            columns[column] = [None if pd.isna(value) else int(value) for value in columns[column]]
    # Through Arrow, because Dataset.from_dict encodes Audio features with torchcodec, which needs FFmpeg's libraries.
    return Dataset(pyarrow.Table.from_pydict(columns, schema=Features(features).arrow_schema))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
