"""The dataset repository: its table, its folds and its card, and that others can load it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from datasets import ClassLabel, List, Value, load_dataset
from huggingface_hub import DatasetCard

from ser_hf.corpora import load_corpus
from ser_hf.hub import log_in, push_folder
from ser_hf.labels import LABELS
from ser_hf.protocols.folds import TESTING_PROTOCOLS, make_folds, read_definition
from tests.corpora.trees import make_cremad, make_emodb, make_savee, make_tess
from tests.local_hub import check_card
from tests.synthetic import make_ravdess
from train.arguments import parse_arguments
from train.baseline import BaselineArguments
from train.common import DataArguments, UsageError, load_clip_table
from train.publishing.dataset import build_dataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fewer than 60 clips"),
    pytest.mark.filterwarnings("ignore:.*of the official record"),
    pytest.mark.filterwarnings("ignore:.*boredom were left out"),
]

REPO = "alice/ravdess-folds"
CORPORA = ("savee", "ravdess", "tess", "cremad", "emodb")
TEXTS = ("clip", "file", "emotion", "speaker", "gender", "statement", "intensity", "repetition", "corpus")
FEATURES = dict.fromkeys(TEXTS, Value("string"))
FEATURES |= {"emotion": ClassLabel(names=list(LABELS)), "repetition": Value("int64")}
for _protocol in ("actor", "emobox", "loao", "random"):
    FEATURES |= {f"{_protocol}_test": Value("int64"), f"{_protocol}_validation": List(Value("int64"))}


@pytest.fixture(scope="module")
def folder(corpus_dir, tmp_path_factory) -> Path:
    return build_dataset(tmp_path_factory.mktemp("published") / "dataset", ["ravdess"], corpus_dir, REPO)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("five")
    make_ravdess(data_dir / "ravdess", seconds=0.3)
    make_tess(data_dir / "tess", seconds=0.3)
    make_cremad(data_dir / "cremad", sentences=("IEO",), levels=("LO", "HI"), seconds=0.3)
    make_savee(data_dir / "savee", seconds=0.3)
    make_emodb(data_dir / "emodb", seconds=0.3)
    return data_dir


@pytest.fixture(scope="module")
def five(data_dir, tmp_path_factory) -> Path:
    """The dataset of five corpora."""
    return build_dataset(tmp_path_factory.mktemp("published") / "five", CORPORA, data_dir, REPO)


@pytest.fixture
def own_caches(tmp_path, monkeypatch):
    """A cache of `datasets` for one test, so that nothing of an earlier run is loaded instead."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def table(folder, own_caches):
    """What others load: the table, by `datasets` alone."""
    return load_dataset(str(folder), split="train")


@pytest.fixture(scope="module")
def card(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def commit(hub, folder) -> str:
    """The commit of the dataset on a Hub."""
    return push_folder(log_in([REPO]), folder, REPO, "Publish", "dataset").commit


def same_folds(one, two) -> bool:
    return [fold.index for fold in one] == [fold.index for fold in two] and all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one, two, strict=True)
        for part in ("train", "validation", "test")
    )


def section(card: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the card, without its two lines of head."""
    found = re.search(r"^\|.*\n\|[-|]*\n((?:\|.*\n)*)", card.split(f"\n{heading}\n", 1)[1], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def test_build_dataset_writes_the_clip_table(folder, table, corpus_dir):
    assert table.features == FEATURES
    assert load_dataset(str(folder / "data"), split="train").features == FEATURES  # by the file alone
    corpus = load_corpus("ravdess", corpus_dir)
    shared = [name for name in corpus.column_names if name != "audio"]
    assert table.select_columns(shared)[:] == corpus.select_columns(shared)[:]
    files = sorted(path.relative_to(corpus_dir / "ravdess").as_posix() for path in corpus_dir.rglob("*.wav"))
    assert sorted(table["file"]) == files
    for fold in make_folds(corpus, "actor"):
        assert np.flatnonzero([test == fold.index for test in table["actor_test"]]).tolist() == fold.test.tolist()
        validates = [fold.index in folds for folds in table["actor_validation"]]
        assert np.flatnonzero(validates).tolist() == fold.validation.tolist()
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert written == ["README.md", "data/ravdess.parquet"]


def test_build_dataset_is_reproducible(folder, tmp_path):
    make_ravdess(tmp_path / "else" / "ravdess", suffix=".flac", seconds=0.3)
    again = build_dataset(tmp_path / "again", ["ravdess"], tmp_path / "else", REPO)
    for name in ("README.md", "data/ravdess.parquet"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert not re.search(rf"{tmp_path}|{Path.home()}|{Path.cwd()}".encode(), (again / name).read_bytes())


@pytest.mark.parametrize("name", CORPORA)
def test_build_dataset_keeps_the_built_in_folds(five, data_dir, name):
    table, joined = load_corpus(name, data_dir), load_corpus(name, data_dir, folds=five)
    for protocol in TESTING_PROTOCOLS if name == "ravdess" else ("actor", "loao"):
        assert same_folds(make_folds(joined, protocol), make_folds(table, protocol))


def test_dataset_card_has_valid_metadata(card):
    assert check_card(card, "dataset") == []
    data = DatasetCard(card).data.to_dict()
    assert (data["license"], data["language"], data["size_categories"]) == ("cc-by-nc-sa-4.0", "en", "n<1K")
    assert data["task_categories"] == ["audio-classification"]
    assert data["configs"] == [{"config_name": "ravdess", "data_files": "data/ravdess.parquet", "default": True}]
    assert [column["name"] for column in data["dataset_info"]["features"]] == list(FEATURES)


def test_dataset_card_counts_clips_and_folds(card, table, corpus_dir):
    counts = Counter(table["emotion"])
    assert section(card, "## RAVDESS") == [[label, str(counts[i])] for i, label in enumerate(LABELS)]
    assert "192 clips of 24 speakers: 12 female, 12 male." in card
    corpus = load_corpus("ravdess", corpus_dir)

    def listed(rows) -> str:
        speakers = sorted(set(corpus.select(rows)["speaker"]))
        return ", ".join(speakers) if len(speakers) <= 8 else f"{len(speakers)} speakers"

    for protocol in TESTING_PROTOCOLS:
        for fold, row in zip(make_folds(corpus, protocol), section(card, f"### Protocol `{protocol}`"), strict=True):
            parts = (fold.train, fold.validation, fold.test)
            assert row == [str(fold.index), *map(str, map(len, parts)), *map(listed, parts[1:])]
        assert read_definition(protocol)["source"] in card


def test_dataset_card_describes_every_column(card):
    described = [row[0].strip("`") for row in section(card, "## Columns")]
    assert described == [*TEXTS, "<protocol>_test", "<protocol>_validation"]
    assert "no recordings" in card


def test_dataset_of_five_corpora_loads_each_by_name(five, own_caches):
    files = {
        "tess": {"OAF_back_angry.wav", "OA_bite_neutral.wav"},
        "cremad": {"AudioWAV/1001_IEO_ANG_HI.wav"},
        "savee": {"AudioData/DC/sa01.wav"},
        "emodb": {"wav/03a01Fa.wav"},
        "ravdess": {"Actor_01/03-01-01-01-01-01-01.wav"},
    }
    for name in CORPORA:
        table = load_dataset(str(five), name, split="train")
        assert set(table["corpus"]) == {name}
        assert files[name] <= set(table["file"])
    assert load_dataset(str(five), split="train")["corpus"][0] == CORPORA[0]  # the default


def test_dataset_card_of_five_corpora(five):
    card = (five / "README.md").read_text()
    assert (DatasetCard(card).data.license, DatasetCard(card).data.language) == ("other", ["de", "en"])
    assert all(f"## {name.upper()}\n" in card for name in CORPORA)
    for citation in ("Burkhardt", "Livingstone", "Haq", "Cao", "Pichora-Fuller", "CREMAD ODbL-1.0;"):
        assert card.count(citation) == 1
    assert {"`normal`", "`high`", "`low`"} <= set(re.split("[; ]", dict(section(card, "## Columns"))["`intensity`"]))
    assert "--corpora savee --protocol actor" in card


def test_dataset_card_leaves_no_gaps(card, five):
    for text in (card, (five / "README.md").read_text()):
        assert not re.search(r"\{\{|\{%|None|\bnan\b|USER/NAME|\[\]|\n\n\n", text)
        assert text.count("<details>") == text.count("</details>") > 0


def test_folds_from_takes_the_folds_of_a_folder(corpus_dir, folder, tmp_path):
    data = DataArguments(data_dir=str(corpus_dir), folds_from=str(folder), protocol="loao", folds="3,1")
    folds = make_folds(load_clip_table(data), data.protocol, data.fold_indices)
    assert same_folds(folds, make_folds(load_corpus("ravdess", corpus_dir), "loao", [3, 1]))
    some = pyarrow.parquet.read_table(folder / "data/ravdess.parquet").select(["clip", "loao_test", "loao_validation"])
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(some, tmp_path / "data/ravdess.parquet")
    with pytest.raises(UsageError, match=f"{tmp_path}.*'actor'"):
        load_clip_table(DataArguments(data_dir=str(corpus_dir), folds_from=str(tmp_path)))


def test_dataset_loads_from_the_hub(commit, corpus_dir):
    assert load_dataset(REPO, split="train").features == FEATURES
    assert len(load_dataset(REPO, revision=commit)["train"]) == 24 * 8
    table = load_corpus("ravdess", corpus_dir, folds=f"{REPO}@{commit}")
    assert same_folds(make_folds(table, "actor"), make_folds(load_corpus("ravdess", corpus_dir), "actor"))


def test_examples_of_the_dataset_card_run(commit, card, corpus_dir):
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
    code = code.replace("path/to/ravdess", str(corpus_dir / "ravdess")).replace("path/to/data", str(corpus_dir))
    names: dict = {}
    exec(code, names)
    assert [len(names[part]) for part in ("train", "validation", "test")] == [136, 16, 40]
    assert all(Path(path).is_file() for path in names["clips"]["path"])
    first = names["folds"][0]
    assert [len(part) for part in (first.train, first.validation, first.test)] == [136, 16, 40]
    (command,) = re.findall(r"```bash\n(.*?)\n```", card, re.DOTALL)
    words = command.replace("\\\n", "").replace("path/to/data", str(corpus_dir)).split()
    assert words[:3] == ["python", "-m", "train.baseline"]
    data, _ = parse_arguments((DataArguments, BaselineArguments), words[3:])
    assert "actor_test" in load_clip_table(data).column_names
