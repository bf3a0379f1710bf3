"""The dataset repository: the clip table with the folds of every protocol; facts about recordings, none of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
from datasets import ClassLabel, Dataset, DatasetInfo, Features, List, Value
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData

from ser_hf.corpora import corpus_facts, load_corpus
from ser_hf.corpora.folds import folds_file
from ser_hf.labels import LABELS
from ser_hf.protocols import PROTOCOLS
from ser_hf.protocols.folds import TESTING_PROTOCOLS, SplitError, column_names, definition_of, fold_columns

TEMPLATE = Path(__file__).resolve().parent.parent.parent / "dataset_card.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
COLUMNS = {
    "clip": "official name of the clip, without suffix; no two clips share one",
    "file": "where the recording lies below the corpus's folder, as the official record has it",
    "emotion": "the expression that was acted (class label)",
    "speaker": "who speaks",
    "gender": "`male` or `female`, as the corpus says",
    "statement": "the words that are said",
    "intensity": "how strongly it is expressed",
    "repetition": "which time the same is said in the same way",
    "corpus": "the corpus that the clip belongs to",
}


def build_dataset(folder: Path, corpora: Sequence[str], data_dir: str | Path | None, repo_id: str) -> Path:
    """Write what the dataset repository holds: ``data/<corpus>.parquet`` (no audio) and its card, ``README.md``.

    The same clips give the same bytes, wherever they lie and whatever format they are stored in.

    Args:
        folder: to write into; it is made if it does not exist, and returned.
        corpora, data_dir: see `load_corpus`.
        repo_id: USER/NAME, for the usage examples of the card.

    Raises:
        CorpusError: see `load_corpus`.
    """
    tables = {name: published_table(load_corpus(name, data_dir), name) for name in corpora}
    for name, table in tables.items():
        path = folder / folds_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table.data.table, path, compression="zstd")
    dataset_card(tables, repo_id).save(folder / "README.md")
    return folder


def published_table(table: Dataset, corpus: str) -> Dataset:
    """The clip table of a corpus without audio, with `file` and the fold columns of each protocol that divides it."""
    columns = {name: list(table[name]) for name in COLUMNS if name != "file"}
    columns["file"] = [
        corpus_facts(corpus).file.format(speaker=speaker, clip=clip, name=clip.removeprefix(f"{speaker}_"))
        for speaker, clip in zip(table["speaker"], table["clip"], strict=True)
    ]
    features = {name: Value("string") for name in COLUMNS}
    features |= {"emotion": ClassLabel(names=list(LABELS)), "repetition": Value("int64")}
    for protocol in TESTING_PROTOCOLS:
        try:
            columns |= fold_columns(table, protocol)
        except SplitError:  # it divides another corpus
            continue
        test, validation = column_names(protocol)
        features |= {test: Value("int64"), validation: List(Value("int64"))}
    return Dataset(pyarrow.table({name: columns[name] for name in features}, schema=Features(features).arrow_schema))


def dataset_card(tables: dict[str, Dataset], repo_id: str) -> DatasetCard:
    """The card of a dataset repository, from ``dataset_card.md`` and the published tables alone."""
    first = next(iter(tables))
    corpora = [_corpus(name, table) for name, table in tables.items()]
    n_clips = sum(map(len, tables.values()))
    names = " and ".join(name.upper() for name in tables)
    languages = sorted({corpus_facts(name).language.split("-")[0] for name in tables})
    data = DatasetCardData(
        license="cc-by-nc-sa-4.0" if list(tables) == ["ravdess"] else "other",
        language=languages[0] if len(languages) == 1 else languages,
        pretty_name=f"{names} clips and folds",
        task_categories=["audio-classification"],
        size_categories=next((words for size, words in SIZES if n_clips < size), "100K<n<1M"),
        tags=["speech-emotion-recognition", "emotion", "cross-validation", "speaker-independent", *tables],
        configs=[
            {"config_name": name, "data_files": folds_file(name), **({"default": True} if name == first else {})}
            for name in tables
        ],
    )
    infos = {name: DatasetInfo(features=table.features) for name, table in tables.items()}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    return DatasetCard.from_template(
        data,
        template_path=str(TEMPLATE),
        repo_id=repo_id,
        names=names,
        is_ravdess="ravdess" in tables,
        first=first,
        n_clips=n_clips,
        columns=_columns(pd.concat([corpus["clips"] for corpus in corpora])),
        corpora=corpora,
        protocol=next((protocol["name"] for protocol in corpora[0]["protocols"]), None),
    )


def _columns(clips: pd.DataFrame) -> dict[str, str]:
    """What the card says of each column: `COLUMNS`, and what is found in the clips."""
    words = dict(COLUMNS)
    intensities = clips["intensity"].dropna().unique()
    if len(intensities):
        words["intensity"] = " or ".join(f"`{name}`" for name in intensities)
    for column in words:
        if clips[column].isna().any():
            words[column] += "; empty where the corpus does not say"
    if "tess" in set(clips["corpus"]):
        words["file"] += " (TESS: its name alone, because copies of it differ in their folders)"
    return words


def _corpus(name: str, table: Dataset) -> dict[str, Any]:
    """What the card says of one corpus, every number counted in the published table."""
    clips = table.to_pandas()
    clips["emotion"] = pd.Categorical.from_codes(clips["emotion"], categories=list(LABELS))
    return {
        "name": name,
        "clips": clips,
        "facts": corpus_facts(name),
        "protocols": [_protocol(one, table, clips) for one in TESTING_PROTOCOLS if column_names(one)[0] in clips],
    }


def _protocol(name: str, table: Dataset, clips: pd.DataFrame) -> dict[str, Any]:
    test, validation = column_names(name)
    folds = []
    for index in sorted(clips[test].unique()):
        tests = clips[test] == index
        validates = clips[validation].map(lambda validated, index=index: index in validated)
        parts = [clips[~tests & ~validates], clips[validates], clips[tests]]
        folds.append({"index": index, "clips": [*map(len, parts)], "speakers": [*map(_speakers, parts[1:])]})
    words, source = PROTOCOLS[name].description, definition_of(table, name)["source"]
    return {"name": name, "words": f"{words[0].upper()}{words[1:]}.", "source": source, "folds": folds}


def _speakers(clips: pd.DataFrame) -> str:
    speakers = sorted(clips["speaker"].unique())
    return ", ".join(speakers) if len(speakers) <= 8 else f"{len(speakers)} speakers"
