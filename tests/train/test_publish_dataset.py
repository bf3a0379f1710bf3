"""The dataset repository: what is written, that others can load it, and that its folds stay the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from datasets import ClassLabel, List, Value, load_dataset
from huggingface_hub import DatasetCard, HfApi

from ser_hf.corpora import load_corpus
from ser_hf.labels import LABELS
from ser_hf.splits import TESTING_PROTOCOLS, make_folds, read_definition
from tests.corpora.trees import make_cremad, make_emodb, make_savee, make_tess
from tests.hub_server import HubServer, point_client_at
from tests.synthetic import make_ravdess
from train.arguments import parse_arguments
from train.baseline import BaselineArguments
from train.common import DataArguments, UsageError, load_clip_table
from train.publishing.dataset import build_dataset

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 60 clips")

REPO = "alice/ravdess-folds"
FEATURES = {
    "clip": Value("string"),
    "file": Value("string"),
    "emotion": ClassLabel(names=list(LABELS)),
    "speaker": Value("string"),
    "gender": Value("string"),
    "statement": Value("string"),
    "intensity": Value("string"),
    "repetition": Value("int64"),
    "corpus": Value("string"),
}
for _protocol in ("actor", "emobox", "loao", "random"):
    FEATURES |= {f"{_protocol}_test": Value("int64"), f"{_protocol}_validation": List(Value("int64"))}
CARD_KEYS = {  # of the Hub's dataset cards, with what may stand there
    "language": str,
    "license": str,
    "pretty_name": str,
    "size_categories": str,
    "tags": list,
    "task_categories": list,
    "configs": list,
    "dataset_info": dict,
}


@pytest.fixture(scope="module")
def folder(corpus_dir, tmp_path_factory) -> Path:
    return build_dataset(tmp_path_factory.mktemp("published") / "dataset", ["ravdess"], corpus_dir, REPO)


@pytest.fixture
def own_caches(tmp_path, monkeypatch):
    """The tests' own cache of `datasets`, so that nothing of an earlier run is loaded instead."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def table(folder, own_caches):
    """What others load: the table, by `datasets` alone."""
    return load_dataset(str(folder), split="train")


def same_folds(one, two) -> bool:
    return [fold.index for fold in one] == [fold.index for fold in two] and all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one, two, strict=True)
        for part in ("train", "validation", "test")
    )


class TestTable:
    def test_loads_with_the_labels_as_classes(self, table):
        assert table.features == FEATURES

    def test_rows_are_those_of_the_corpus_in_its_order(self, table, corpus_dir):
        corpus = load_corpus("ravdess", corpus_dir)
        shared = [name for name in corpus.column_names if name != "audio"]
        assert table.select_columns(shared)[:] == corpus.select_columns(shared)[:]

    def test_file_is_the_official_path(self, table, corpus_dir):
        assert table[0]["file"] == "Actor_01/03-01-01-01-01-01-01.wav"
        files = sorted(path.relative_to(corpus_dir / "ravdess").as_posix() for path in corpus_dir.rglob("*.wav"))
        assert sorted(table["file"]) == files

    def test_the_file_alone_says_what_its_columns_are(self, folder, own_caches):
        assert load_dataset(str(folder / "data"), split="train").features == FEATURES

    def test_nothing_else_is_written(self, folder):
        written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert written == ["README.md", "data/ravdess.parquet"]
        file = pyarrow.parquet.ParquetFile(folder / "data/ravdess.parquet")
        columns = range(file.metadata.num_columns)
        assert {file.metadata.row_group(0).column(i).compression for i in columns} == {"ZSTD"}

    def test_same_clips_same_bytes_wherever_and_in_whatever_format_they_lie(self, folder, tmp_path):
        make_ravdess(tmp_path / "else" / "ravdess", suffix=".flac", seconds=0.3)
        again = build_dataset(tmp_path / "again", ["ravdess"], tmp_path / "else", REPO)
        for name in ("README.md", "data/ravdess.parquet"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()

    def test_it_may_be_written_over_an_older_one(self, folder, corpus_dir, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "ravdess.parquet").write_bytes(b"older")
        assert build_dataset(str(tmp_path), ["ravdess"], corpus_dir, REPO) == tmp_path
        assert (tmp_path / "data/ravdess.parquet").read_bytes() == (folder / "data/ravdess.parquet").read_bytes()

    def test_no_path_of_this_machine(self, folder, corpus_dir):
        stored = pyarrow.parquet.read_table(folder / "data/ravdess.parquet")
        texts = [str(stored.to_pylist()), str(stored.schema.metadata), (folder / "README.md").read_text()]
        for place in (corpus_dir, folder, Path.home(), Path.cwd()):
            assert not any(str(place) in text for text in texts)
        assert not any(re.search(r"(?<![\w:/.])/\w+/", text) for text in texts[::2])


class TestFolds:
    @pytest.mark.parametrize("protocol", TESTING_PROTOCOLS)
    def test_they_are_those_that_are_built_in(self, folder, corpus_dir, protocol):
        built_in = make_folds(load_corpus("ravdess", corpus_dir), protocol)
        assert same_folds(make_folds(load_corpus("ravdess", corpus_dir, folds=folder), protocol), built_in)

    @pytest.mark.parametrize("protocol", TESTING_PROTOCOLS)
    def test_columns_alone_say_which_clips_train(self, table, protocol):
        for fold in make_folds(load_corpus_rows(table), protocol):
            test = [row[f"{protocol}_test"] == fold.index for row in table]
            validation = [fold.index in row[f"{protocol}_validation"] for row in table]
            assert np.flatnonzero(test).tolist() == fold.test.tolist()
            assert np.flatnonzero(validation).tolist() == fold.validation.tolist()

    @pytest.mark.slow
    def test_real_corpus(self, real_data, tmp_path, own_caches):
        folder = build_dataset(tmp_path / "dataset", ["ravdess"], real_data, REPO)
        plain, joined = load_corpus("ravdess", real_data), load_corpus("ravdess", real_data, folds=folder)
        assert len(load_dataset(str(folder), split="train")) == 1440
        for protocol in TESTING_PROTOCOLS:
            assert same_folds(make_folds(joined, protocol), make_folds(plain, protocol))
        card = (folder / "README.md").read_text()
        assert "1440 clips of 24 speakers: 12 female, 12 male." in card
        assert {"| neutral | 96 |", "| calm | 192 |"} <= set(card.splitlines())
        assert "| 4 | 1080 | 120 | 240 | 02, 05 | 01, 04, 09, 22 |" in card.splitlines()


def load_corpus_rows(table):
    """The published table without its folds, so that those that are built in divide it."""
    return table.remove_columns([name for name in table.column_names if name.endswith(("_test", "_validation"))])


def section(card: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the card, without its two lines of head."""
    lines = card.split(f"\n{heading}\n", 1)[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


@pytest.fixture(scope="module")
def card(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


class TestCard:
    def test_front_matter_is_what_the_hub_documents(self, folder):
        data = DatasetCard.load(folder / "README.md").data.to_dict()
        assert set(data) == set(CARD_KEYS)
        for key, kind in CARD_KEYS.items():
            assert isinstance(data[key], kind), key
        assert (data["license"], data["language"]) == ("cc-by-nc-sa-4.0", "en")
        assert data["task_categories"] == ["audio-classification"]
        assert data["size_categories"] == "n<1K"
        assert data["configs"] == [{"config_name": "ravdess", "data_files": "data/ravdess.parquet", "default": True}]
        assert data["dataset_info"]["config_name"] == "ravdess"
        told = {column["name"]: column for column in data["dataset_info"]["features"]}
        assert list(told) == list(FEATURES)
        assert list(told["emotion"]["dtype"]["class_label"]["names"].values()) == list(LABELS)

    def test_counts_are_those_of_the_table(self, card, table):
        assert section(card, "## RAVDESS") == [
            [label, str(Counter(table["emotion"])[i])] for i, label in enumerate(LABELS)
        ]
        expected = []
        for speaker in sorted(set(table["speaker"])):
            rows = [row for row in table if row["speaker"] == speaker]
            counts = Counter(row["emotion"] for row in rows)
            gender = "female" if int(speaker) % 2 == 0 else "male"
            expected.append([speaker, gender, str(len(rows)), *(str(counts[i]) for i in range(len(LABELS)))])
        assert section(card, "<summary>Clips of each speaker</summary>") == expected

    @pytest.mark.parametrize("protocol", TESTING_PROTOCOLS)
    def test_folds_are_counted_with_their_source(self, card, corpus_dir, protocol):
        corpus = load_corpus("ravdess", corpus_dir)

        def listed(rows) -> str:
            speakers = sorted(set(corpus.select(rows)["speaker"]))
            return ", ".join(speakers) if len(speakers) <= 8 else f"{len(speakers)} speakers"

        expected = [
            [
                *(str(n) for n in (fold.index, len(fold.train), len(fold.validation), len(fold.test))),
                listed(fold.validation),
                listed(fold.test),
            ]
            for fold in make_folds(corpus, protocol)
        ]
        assert section(card, f"### Protocol `{protocol}`") == expected
        words = card.split(f"### Protocol `{protocol}`")[1].split("###")[0]
        assert f"Source: {read_definition(protocol)['source']}." in words
        assert ("speaker-dependent" in words) == (protocol == "random")

    def test_it_says_that_it_holds_no_recordings(self, card):
        assert "**There are no recordings in this repository**" in card
        assert "CC-BY-NC-SA-4.0" in card

    def test_every_column_is_told(self, card):
        told = [row[0].strip("`") for row in section(card, "## Columns")]
        assert told[:-2] == [name for name in FEATURES if not name.endswith(("_test", "_validation"))]
        assert told[-2:] == ["<protocol>_test", "<protocol>_validation"]

    def test_nothing_is_left_open(self, card):
        for word in ("{{", "{%", "None", "nan", "USER/NAME", "[]"):
            assert word not in card
        assert "\n\n\n" not in card
        assert card.count("<details>") == card.count("</details>") == 2


class TestFoldsFrom:
    """The option of the commands that train."""

    def arguments(self, corpus_dir, *more) -> DataArguments:
        return parse_arguments((DataArguments,), ["--data_dir", str(corpus_dir), *more])[0]

    def test_without_it_the_table_is_the_corpus(self, corpus_dir):
        table = load_clip_table(self.arguments(corpus_dir))
        assert table[:] == load_corpus("ravdess", corpus_dir)[:]
        assert table.features == load_corpus("ravdess", corpus_dir).features

    def test_the_folds_of_a_folder(self, corpus_dir, folder):
        data = self.arguments(corpus_dir, "--folds_from", str(folder), "--protocol", "loao", "--folds", "3,1")
        folds = make_folds(load_clip_table(data), data.protocol, data.fold_indices)
        assert same_folds(folds, make_folds(load_corpus("ravdess", corpus_dir), "loao", [3, 1]))

    def test_a_protocol_that_it_has_not_is_refused(self, corpus_dir, folder, tmp_path):
        some = pyarrow.parquet.read_table(folder / "data/ravdess.parquet")
        (tmp_path / "data").mkdir()
        pyarrow.parquet.write_table(
            some.select(["clip", "loao_test", "loao_validation"]), tmp_path / "data/ravdess.parquet"
        )
        with pytest.raises(UsageError, match=f"{tmp_path} has no folds of protocol 'actor' for ravdess"):
            load_clip_table(self.arguments(corpus_dir, "--folds_from", str(tmp_path)))
        full = self.arguments(corpus_dir, "--folds_from", str(tmp_path), "--protocol", "full")
        assert len(make_folds(load_clip_table(full), "full")[0].train) == 24 * 8

    def test_no_corpus(self, corpus_dir):
        with pytest.raises(UsageError, match="--corpora names no corpus"):
            load_clip_table(self.arguments(corpus_dir, "--corpora", ","))


@pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*boredom were left out")
class TestSeveralCorpora:
    CORPORA = ("savee", "ravdess", "tess", "cremad", "emodb")

    @pytest.fixture(scope="class")
    @staticmethod
    def data_dir(tmp_path_factory):
        data_dir = tmp_path_factory.mktemp("five")
        make_ravdess(data_dir / "ravdess", seconds=0.3)
        make_tess(data_dir / "tess", seconds=0.3)
        make_cremad(data_dir / "cremad", sentences=("IEO",), levels=("LO", "HI"), seconds=0.3)
        make_savee(data_dir / "savee", seconds=0.3)
        make_emodb(data_dir / "emodb", seconds=0.3)
        return data_dir

    @pytest.fixture(scope="class")
    @staticmethod
    def five(data_dir, tmp_path_factory):
        return build_dataset(tmp_path_factory.mktemp("five") / "dataset", TestSeveralCorpora.CORPORA, data_dir, REPO)

    def test_each_loads_by_its_name(self, five, own_caches):
        for name in self.CORPORA:
            table = load_dataset(str(five), name, split="train")
            assert set(table["corpus"]) == {name}
            assert table.features["emotion"].names == list(LABELS)
        assert load_dataset(str(five), split="train")["corpus"][0] == "savee"  # the first is the default

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("tess", "OAF_back_angry.wav"),
            ("tess", "OA_bite_neutral.wav"),
            ("cremad", "AudioWAV/1001_IEO_ANG_HI.wav"),
            ("savee", "AudioData/DC/sa01.wav"),
            ("emodb", "wav/03a01Fa.wav"),
        ],
    )
    def test_files_are_the_official_ones(self, five, name, file):
        table = pyarrow.parquet.read_table(five / f"data/{name}.parquet")
        assert file in table["file"].to_pylist()

    @pytest.mark.parametrize("name", CORPORA)
    def test_folds_are_those_that_are_built_in(self, five, data_dir, name):
        for protocol in ("actor", "loao"):
            built_in = make_folds(load_corpus(name, data_dir), protocol)
            assert same_folds(make_folds(load_corpus(name, data_dir, folds=five), protocol), built_in)

    def test_the_card_tells_of_each(self, five):
        card = (five / "README.md").read_text()
        assert DatasetCard(card).data.license == "other"
        assert DatasetCard(card).data.language == ["de", "en"]
        for name in self.CORPORA:
            assert f"## {name.upper()}\n" in card
        for words in ("Burkhardt", "Livingstone", "Haq", "Cao", "Pichora-Fuller", "CREMAD ODbL-1.0;"):
            assert card.count(words) == 1
        (intensity,) = (row[1] for row in section(card, "## Columns") if row[0] == "`intensity`")
        assert intensity == "`normal` or `high` or `low`; empty where the corpus does not tell it"
        assert "python -m train.baseline --model svm --corpora savee --protocol actor" in card
        assert "speakers dealt to five folds by gender and number of clips" in card
        for word in ("{{", "{%", "None", "nan", "[]"):
            assert word not in card


class TestHub:
    """Through a Hub on this machine, with the real client."""

    @pytest.fixture
    def published(self, folder, tmp_path, monkeypatch):
        """A Hub that holds the dataset, and the commit that it is."""
        with HubServer(tmp_path / "hub", users={"alice": "hf_alice"}) as hub:
            point_client_at(hub, monkeypatch, hub.token("alice"), tmp_path / "home")
            api = HfApi(endpoint=hub.endpoint, token=hub.token("alice"))
            api.create_repo(REPO, repo_type="dataset")
            commit = api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=folder).oid
            yield hub, commit

    def test_it_loads_by_name_and_by_commit(self, published, corpus_dir):
        _, commit = published
        assert load_dataset(REPO, split="train").features == FEATURES
        assert len(load_dataset(REPO, revision=commit)["train"]) == 24 * 8
        table = load_corpus("ravdess", corpus_dir, folds=f"{REPO}@{commit}")
        for protocol in TESTING_PROTOCOLS:
            built_in = make_folds(load_corpus("ravdess", corpus_dir), protocol)
            assert same_folds(make_folds(table, protocol), built_in)

    def test_a_second_publication_changes_nothing(self, published, corpus_dir, tmp_path):
        hub, commit = published
        again = build_dataset(tmp_path / "again", ["ravdess"], corpus_dir, REPO)
        api = HfApi(endpoint=hub.endpoint, token=hub.token("alice"))
        assert api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=again).oid == commit
        assert hub.store.commits("dataset", REPO)[0]["oid"] == commit

    def test_the_code_of_the_card_runs(self, published, card, corpus_dir):
        code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
        assert code.count("path/to/ravdess") == code.count('"path/to/data"') == 1
        code = code.replace("path/to/ravdess", str(corpus_dir / "ravdess")).replace("path/to/data", str(corpus_dir))
        names: dict = {}
        exec(code, names)
        assert [len(names[part]) for part in ("train", "validation", "test")] == [136, 16, 40]
        assert all(Path(path).is_file() for path in names["clips"]["path"])
        first = names["folds"][0]
        assert [len(part) for part in (first.train, first.validation, first.test)] == [136, 16, 40]

    def test_the_command_of_the_card_is_understood(self, published, card, corpus_dir):
        (command,) = re.findall(r"```bash\n(.*?)\n```", card, re.DOTALL)
        words = command.replace("\\\n", "").replace("path/to/data", str(corpus_dir)).split()
        assert words[:3] == ["python", "-m", "train.baseline"]
        data, _ = parse_arguments((DataArguments, BaselineArguments), words[3:])
        assert data.folds_from == REPO
        assert "actor_test" in load_clip_table(data).column_names
