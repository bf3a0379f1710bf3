"""The kinds of source that own recordings come in, each read into rows: what the source says, nothing checked."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import zipfile
from pathlib import Path

import pandas as pd
from datasets import Audio, ClassLabel, Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from ser_hf.corpora.files import CorpusError
from ser_hf.utils.files import cache_folder, replacing_folder
from ser_hf.utils.names import some, unknown_name
from ser_hf.utils.recordings import is_hidden, may_be_recording

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SPLIT = "split"
BASE = "__base__"  # a column: the folder that the paths of a row are relative to
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
LARGEST_ZIP = 20 * 2**30  # bytes, unpacked
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
LEFT_OUT = "left_out"  # an attribute of the rows: the files of a folder that are no recordings


def read_rows(source: str | Path, split: str | None = None) -> tuple[pd.DataFrame, str]:
    """The rows of a source, with the columns that it has (see `ser_hf.corpora.own.load_clips`) and `BASE`; its name.

    Raises:
        CorpusError: there is nothing, or it cannot be read.
    """
    path = Path(source).expanduser()
    if path.exists():
        rows, name = _from_path(path, split), path.resolve().stem if path.is_file() else path.resolve().name
    else:
        rows, name = _from_hub(str(source), split), str(source).split("/")[-1].split("@")[0]
    if split is not None:
        if SPLIT in rows:
            rows = rows[rows[SPLIT] == split]
        if rows.empty:
            raise CorpusError(f"{source}: no row has split {split!r}")
    return rows.reset_index(drop=True), re.sub(r"\W+", "-", name).strip("-").lower()


def _from_path(path: Path, split: str | None) -> pd.DataFrame:
    if path.suffix.lower() == ".zip":
        return _from_path(_unzipped(path), split)
    if path.is_file():
        return _from_table(path)
    if any((path / file).exists() for file in ("dataset_info.json", "dataset_dict.json")):
        return _from_dataset(load_from_disk(str(path)), split)
    inside = [one for one in path.iterdir() if not is_hidden(Path(one.name))]
    tables = [one for one in inside if one.suffix.lower() in TABLES]
    metadata = sorted(one for one in path.rglob("metadata.*") if one.suffix.lower() in TABLES)
    if metadata or len(tables) == 1:
        return pd.concat([_from_table(one) for one in metadata or tables], ignore_index=True)
    if any(path.rglob("*.parquet")):
        return _from_dataset(load_dataset(str(path)), split)
    if len(inside) == 1 and inside[0].is_dir():  # of a zip of one folder
        return _from_path(inside[0], split)
    return _from_folders(path)


def _from_folders(folder: Path) -> pd.DataFrame:
    """A folder per label, the innermost; the outermost may be splits."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    files = [path for path in files if not is_hidden(path)]
    paths = [path for path in files if may_be_recording(folder / path)]
    if not paths:
        raise CorpusError(
            f"{folder}: holds no recording and no table; give a folder with a subfolder of recordings per label, or "
            "one with a metadata.csv that has the columns file and label"
        )
    loose = [path.name for path in paths if len(path.parts) == 1]
    if loose:
        raise CorpusError(
            f"{folder}: {some(loose)} in no subfolder; move each into the one of its label, or give a CSV file with "
            "the columns file and label"
        )
    rows = pd.DataFrame({"file": [str(path) for path in paths], "label": [path.parent.name for path in paths]})
    if all(path.parts[0].lower() in SPLITS and len(path.parts) > 2 for path in paths):
        rows[SPLIT] = [path.parts[0] for path in paths]
    rows.attrs[LEFT_OUT] = [str(path) for path in sorted(set(files) - set(paths))]
    return rows.assign(**{BASE: str(folder)})


def _from_table(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise CorpusError(f"{path}: neither a folder nor a zip nor a table ({', '.join(TABLES)})")
    try:
        if suffix == ".parquet":
            return _from_dataset(load_dataset("parquet", data_files=str(path)), None, path.parent)
        text = _decoded(path)
        if suffix == ".jsonl":
            rows = pd.read_json(io.StringIO(text), lines=True, dtype=False)
        else:
            # Where commas stand in numbers, Excel separates columns by semicolons.
            separator = "\t" if suffix == ".tsv" else csv.Sniffer().sniff(text.split("\n")[0], ",;\t|").delimiter
            rows = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, skipinitialspace=True)
    except (ValueError, csv.Error, DatasetGenerationError) as error:
        raise CorpusError(f"{path}: cannot be read as a {suffix[1:].upper()} file: {error}") from None
    if rows.empty:
        raise CorpusError(f"{path}: holds no row")
    rows.columns = [str(column).strip() for column in rows]
    return rows.assign(**{BASE: str(path.parent)})


def _decoded(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, or in the encoding that Excel takes on Windows."""
    content = path.read_bytes()
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            pass
    raise CorpusError(f"{path}: no text in UTF-8; save it as CSV in UTF-8")


def _from_hub(name: str, split: str | None) -> pd.DataFrame:
    from ser_hf.hub import looks_like_folder

    repo_id, _, revision = name.partition("@")
    if not HUB_ID.fullmatch(name) or looks_like_folder(repo_id):
        raise CorpusError(f"{name}: there is no such file or folder (a dataset of the Hub is given as USER/NAME)")
    try:
        return _from_dataset(load_dataset(repo_id, revision=revision or None), split)
    except (DatasetNotFoundError, DatasetGenerationError, OSError, ValueError) as error:
        raise CorpusError(f"{name}: no such file or folder is here, and the Hub gave no dataset: {error}") from None


def _from_dataset(found: Dataset | DatasetDict, split: str | None, base: Path = Path()) -> pd.DataFrame:
    """The rows of a dataset: classes by name, audio as it is stored, the splits of several as a column."""
    parts = found if isinstance(found, dict) else {"train": found}
    if split is not None and isinstance(found, dict):
        if split not in parts:
            raise CorpusError(f"--split: {unknown_name('split', split, parts)}")
        parts = {split: parts[split]}
    frames = []
    for name, part in parts.items():
        for column, feature in part.features.items():
            if isinstance(feature, Audio):
                part = part.cast_column(column, Audio(decode=False))
        frame = part.to_pandas()
        for column, feature in part.features.items():
            if isinstance(feature, ClassLabel):
                frame[column] = [feature.int2str(int(value)) if value >= 0 else None for value in frame[column]]
        frames.append(frame.assign(**{SPLIT: name}) if len(parts) > 1 or split else frame)
    return pd.concat(frames, ignore_index=True).assign(**{BASE: str(base)})


def _unzipped(archive: Path) -> Path:
    """Unpack a zip into the cache, once for each content."""
    try:
        with open(archive, "rb") as content:
            folder = cache_folder("zips") / hashlib.file_digest(content, "sha256").hexdigest()[:16]
        with zipfile.ZipFile(archive) as zipped:
            size = sum(member.file_size for member in zipped.infolist())
            if size > LARGEST_ZIP:
                raise CorpusError(f"{archive}: holds {size / 2**30:.0f} GiB; unpack it, and give the folder")
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with replacing_folder(folder) as part:
                    zipped.extractall(part)  # which keeps to the folder, whatever the names inside
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:  # damaged, encrypted, a full disk
        raise CorpusError(f"{archive}: cannot be unpacked: {error}") from None
    return folder
