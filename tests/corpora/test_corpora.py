"""Clip tables of all corpora: the registry, rows, selections, and folders that are not as they should be."""

from __future__ import annotations

import csv
import re
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import concatenate_datasets

from ser_hf.audio import load_audio
from ser_hf.corpora import (
    CORPORA,
    CorpusError,
    clip_table,
    corpus_facts,
    corpus_fingerprint,
    expand_corpora,
    load_corpus,
    training_corpora,
)
from ser_hf.labels import LABELS
from tests.corpora.trees import OFFICIAL, make_corpus, make_savee, write_clip
from tests.synthetic import make_ravdess

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom were left out")
ROWS = {  # of the first clip of `OFFICIAL`: statement, intensity, repetition
    "ravdess": ("Dogs are sitting by the door", "normal", 1),
    "tess": ("Say the word back", None, None),
    "cremad": ("It's eleven o'clock", "high", None),
    "savee": (None, None, None),
    "emodb": ("Der Lappen liegt auf dem Eisschrank.", None, 1),
    "emovo": (None, None, None),
    "nemo": (None, None, None),
    "ased": (None, None, 1),
    "korean-emotion-tts": (None, None, None),
    "emogator": (None, None, 1),
}
# Clips (of EmoDB with boredom) and speakers of the real corpora.
REAL = {"ravdess": (1440, 24), "savee": (480, 4), "emodb": (535, 10), "emovo": (294, 6), "nemo": (477, 9)}
REAL |= {"ased": (738, 37), "korean-emotion-tts": (180, 15), "emogator": (648, 72)}


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    """A data folder with a few clips of every corpus."""
    data_dir = tmp_path_factory.mktemp("trees")
    for name in CORPORA:
        make_corpus(name, data_dir / name, seconds=0.3)
    return data_dir


@pytest.fixture
def small(tmp_path) -> Path:
    """A data folder with two clips of RAVDESS."""
    make_ravdess(tmp_path / "ravdess", actors=(1, 2), emotions=("sad",), seconds=0.3)
    return tmp_path


class TestRegistry:
    @pytest.mark.parametrize("name", CORPORA)
    def test_facts_are_complete(self, name):
        facts = corpus_facts(name)
        assert facts.name == name
        assert facts.has_calm == (name in ("ravdess", "emogator"))
        assert set(facts.emotions.values()) & set(LABELS)
        assert re.fullmatch(r"[a-z]{2,3}", facts.language)
        assert facts.record.startswith("http")
        assert all((facts.title, facts.citation, facts.licence))

    def test_cremad_has_43_women_of_91(self):
        assert Counter(corpus_facts("cremad").genders.values()) == {"female": 43, "male": 48}

    @pytest.mark.parametrize("load", [corpus_facts, load_corpus, lambda name: expand_corpora([name])])
    def test_unknown_corpus_is_refused_with_the_nearest(self, load):
        with pytest.raises(CorpusError, match="did you mean 'emovo'"):
            load("emov")

    def test_unknown_option_is_refused(self, tmp_path):
        with pytest.raises(CorpusError, match=r"ravdess has no option 'actor'.*unmapped, actors"):
            load_corpus("ravdess", tmp_path, actor=[1])

    @pytest.mark.parametrize("name", CORPORA)
    def test_missing_corpus_says_where_to_get_and_put_it(self, name, tmp_path, monkeypatch):
        for way in ("requests.get", "subprocess.run"):
            monkeypatch.setattr(way, lambda *a, **k: pytest.fail("reached for the network"))
        with pytest.raises(
            CorpusError, match=rf"{tmp_path}/{name}: is not there.*https?://\S+.*free.*{tmp_path}/{name}"
        ):
            load_corpus(name, tmp_path, download=corpus_facts(name).source is None)

    def test_all_training_is_what_is_there(self, trees, tmp_path, monkeypatch):
        assert training_corpora() == tuple(name for name in CORPORA if name not in ("savee", "tess"))
        for name in ("emogator", "emovo"):
            shutil.copytree(trees / name, tmp_path / name)
        (tmp_path / "nemo").mkdir()
        with pytest.warns(UserWarning, match=r"ravdess \(https.*cremad \(https.*nemo \(https"):
            assert expand_corpora(["savee", "all-training", "emovo"], tmp_path) == ["savee", "emovo", "emogator"]
        assert expand_corpora(["tess", "ravdess"], tmp_path) == ["tess", "ravdess"]
        with pytest.raises(CorpusError, match=f"{tmp_path}/none: no recordings of ravdess"):
            expand_corpora(["all-training"], tmp_path / "none")


class TestTable:
    @pytest.mark.parametrize("name", CORPORA)
    def test_rows_are_what_the_names_say(self, name, trees):
        with pytest.warns(UserWarning, match=r"holds \d+ of the \d+ clips of the official record"):
            table = load_corpus(name, trees, unmapped="keep")
        names = table.features["emotion"].names
        rows = {row["audio"]["path"]: row for row in table}
        assert {
            str(Path(path).relative_to(trees / name)): (names[row["emotion"]], row["speaker"], row["gender"])
            for path, row in rows.items()
        } == OFFICIAL[name]
        path, (emotion, speaker, gender) = next(iter(OFFICIAL[name].items()))
        row = rows[str(trees / name / path)]
        assert row == {
            "clip": "DC_a01" if name == "savee" else Path(path).stem,
            "audio": {"path": str(trees / name / path), "bytes": None},
            "emotion": names.index(emotion),
            "speaker": speaker,
            "gender": gender,
            **dict(zip(("statement", "intensity", "repetition"), ROWS[name], strict=True)),
            "corpus": name,
        }
        order = [corpus_facts(name).parse(path) for path in rows]
        assert order == sorted(order, key=lambda clip: (clip.speaker if name == "ravdess" else "", clip))
        assert len(load_audio(row["audio"])) > 4000

    def test_all_corpora_pool(self, trees):
        tables = [load_corpus(name, trees) for name in CORPORA]
        assert len(concatenate_datasets(tables)) == sum(map(len, tables))
        assert tables[0].features["emotion"].names == list(LABELS)
        assert "torchcodec" not in sys.modules

    def test_environment_names_the_data_folder(self, small, monkeypatch, tmp_path):
        monkeypatch.setenv("SER_HF_DATA", str(small))
        assert len(load_corpus("ravdess")) == 2
        monkeypatch.delenv("SER_HF_DATA")
        (tmp_path / "work").mkdir()
        shutil.copytree(small / "ravdess", tmp_path / "work/data/ravdess")
        monkeypatch.chdir(tmp_path / "work")
        table = load_corpus("ravdess")
        monkeypatch.chdir(tmp_path)
        assert load_audio(table[0]["audio"]).size  # paths hold wherever the program goes


class TestSelections:
    def clips(self, name, folder, **options):
        return load_corpus(name, folder, **options)["clip"][:]

    @pytest.mark.filterwarnings("ignore:.*song or video")
    def test_ravdess_selects_actors_and_speech(self, small):
        write_clip(small / "ravdess/Actor_01/03-02-03-01-01-01-01.wav", "happy", 1)
        with pytest.warns(UserWarning, match="1 recordings of song or video were left out"):
            assert len(load_corpus("ravdess", small)) == 2
        assert set(load_corpus("ravdess", small, actors=[2])["speaker"]) == {"02"}
        with pytest.raises(CorpusError, match=r"holds no recording that .*7.* selects"):
            load_corpus("ravdess", small, actors=[7])

    def test_nemo_selects_the_first_nine_by_name(self, tmp_path):
        make_corpus("nemo", tmp_path / "nemo", [f"samples/EB0_anger_{n}.flac" for n in range(1, 21)], seconds=0.1)
        numbers = [int(clip.rpartition("_")[2]) for clip in self.clips("nemo", tmp_path)]
        assert numbers == [1, *range(10, 18)]

    def test_ased_selects_common_sentences_without_copies(self, tmp_path):
        names = ["a5-05-01-01-01", "a5-06-01-01-01", "a5-07-01-02-63", "a5-07-02-02-63"]
        make_corpus("ased", tmp_path / "ased", [f"05Angry/{name}.wav" for name in names], seconds=0.1)
        assert self.clips("ased", tmp_path) == names[1:3]

    def test_emogator_selects_contributors_and_takes(self, tmp_path):
        names = ["000001-02-1", "000001-03-1", "000001-03-2", "000073-03-1"]
        make_corpus("emogator", tmp_path / "emogator", [f"data/mp3/{name}.mp3" for name in names], seconds=0.3)
        with pytest.warns(UserWarning, match="emogator: 1 clips of amusement were left out"):
            assert self.clips("emogator", tmp_path) == names[1:2]
        assert self.clips("emogator", tmp_path, unmapped="keep") == names[:2]

    def test_cremad_leaves_out_the_clip_without_a_voice(self, tmp_path):
        names = ("1076_MTI_NEU_XX", "1076_MTI_SAD_XX")
        make_corpus("cremad", tmp_path / "cremad", [f"AudioWAV/{name}.wav" for name in names])
        with pytest.warns(UserWarning, match="1076_MTI_SAD_XX"):
            assert self.clips("cremad", tmp_path) == ["1076_MTI_NEU_XX"]


class TestUnmapped:
    def columns(self, *emotions: str) -> dict[str, list]:
        row = {"clip": "c", "audio": "c.wav", "speaker": "s", "gender": "male", "corpus": "x"}
        row |= dict.fromkeys(("statement", "intensity", "repetition"))
        return {name: [value] * len(emotions) for name, value in row.items()} | {"emotion": list(emotions)}

    def test_unmapped_labels_are_dropped_with_a_warning(self):
        with pytest.warns(UserWarning, match="^x: 2 clips of boredom were left out"):
            table = clip_table(self.columns("boredom", "sad", "boredom"))
        assert table["emotion"][:] == [LABELS.index("sad")]
        assert table.features["emotion"].names == list(LABELS)

    @pytest.mark.filterwarnings("error")
    def test_unmapped_labels_are_kept_after_ours(self):
        table = clip_table(self.columns("boredom"), unmapped="keep")
        assert table.features["emotion"].names == [*LABELS, "boredom"]
        assert table["emotion"][:] == [len(LABELS)]
        assert clip_table(self.columns("calm")).features == clip_table(self.columns("calm"), "keep").features

    def test_unmapped_takes_no_other_value(self):
        with pytest.raises(CorpusError, match="'drop' or 'keep', not 'other'"):
            clip_table(self.columns("sad"), unmapped="other")


class TestFingerprint:
    def test_fingerprint_changes_with_rows_labels_and_bytes(self, small):
        table = load_corpus("ravdess", small)
        before = corpus_fingerprint(table)
        assert re.fullmatch("[0-9a-f]{16}", before)
        assert corpus_fingerprint(table.select([0])) != before
        assert corpus_fingerprint(table.map(lambda row: {"emotion": 7 - row["emotion"]})) != before
        path = Path(table[1]["audio"]["path"])
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert corpus_fingerprint(table) != before

    def test_fingerprint_ignores_place_and_storage(self, small, tmp_path):
        shutil.copytree(small / "ravdess", tmp_path / "other/ravdess")
        here, there = (load_corpus("ravdess", folder) for folder in (small, tmp_path / "other"))
        in_memory = here.map(lambda row: {"audio": {"bytes": Path(row["audio"]["path"]).read_bytes(), "path": None}})
        assert corpus_fingerprint(here) == corpus_fingerprint(there) == corpus_fingerprint(in_memory)


class TestFolders:
    SAD = "ravdess/Actor_01/03-01-04-01-01-01-01.wav"

    def refuse(self, folder, words, name="ravdess"):
        with pytest.raises(CorpusError, match=words):
            load_corpus(name, folder)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "empty"),
            (b"no sound\n" * 99, "not a readable recording"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        ],
    )
    def test_unreadable_files_are_refused(self, small, content, words):
        (small / self.SAD).write_bytes(content)
        self.refuse(small, f"{small / self.SAD}: .*{words}")
        for path in small.rglob("*.wav"):
            path.write_bytes(content)
        self.refuse(small, r"\(and 1 more\)")

    def test_files_without_samples_are_refused(self, small):
        soundfile.write(small / self.SAD, np.zeros(0), 16_000)
        self.refuse(small, f"{small / self.SAD}: holds no sound")

    def test_wrong_names_are_refused(self, small):
        (small / self.SAD).rename(small / "ravdess/Actor_01/03-01-09-01-01-01-01.wav")
        self.refuse(small, "Actor_01/03-01-09-01-01-01-01.wav: not an official RAVDESS name")

    @pytest.mark.parametrize(
        "layout",
        [
            "{actor}",
            "{actor_in_small_letters}",
            "RAVDESS/{actor}",
            "ravdess/{actor_in_small_letters}",
            "ravdess/Audio_Speech_Actors_01-24/{actor}",
            "downloads/Audio_Speech_Actors_01-24/{actor}",
            "ravdess",
            "speech",
            "",
        ],
    )
    def test_ravdess_is_found_as_people_have_it(self, small, tmp_path, layout):
        make_corpus("savee", tmp_path / "other/savee", seconds=0.1)  # what has other names is not looked at
        official = load_corpus("ravdess", small)
        for path in sorted((small / "ravdess").rglob("*.wav")):
            actor = path.parent.name
            target = tmp_path / "other" / layout.format(actor=actor, actor_in_small_letters=actor.lower()) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        found = load_corpus("ravdess", tmp_path / "other")
        assert found.remove_columns("audio")[:] == official.remove_columns("audio")[:]
        assert corpus_fingerprint(found) == corpus_fingerprint(official)
        with pytest.warns(UserWarning, match="all-training"):
            assert expand_corpora(["all-training"], tmp_path / "other") == ["ravdess"]

    @pytest.mark.parametrize(
        ("name", "inside"),
        [("ravdess", "audio_speech_actors_01-24"), ("tess", "TESS Toronto emotional speech set data")],
    )
    def test_copies_of_kaggle_are_read_once(self, name, inside, tmp_path):
        folder = make_corpus(name, tmp_path / name, seconds=0.3)
        before = load_corpus(name, tmp_path)[:]
        shutil.copytree(folder, folder / inside)
        with pytest.warns(UserWarning, match=f"{len(before['clip'])} recordings have the name of another"):
            assert load_corpus(name, tmp_path)["clip"][:] == before["clip"]

    def test_other_files_are_ignored(self, small):
        for name in (".DS_Store", "readme.txt", "._03-01-03-01-01-01-01.wav", "cover.jpg", "x.mp3"):
            (small / "ravdess/Actor_01" / name).write_bytes(b"something else")
        assert len(load_corpus("ravdess", small)) == 2

    def test_folders_without_recordings_are_refused(self, tmp_path):
        (tmp_path / "ravdess/Actor_01").mkdir(parents=True)
        (tmp_path / "ravdess/Actor_01/a.mp3").write_bytes(b"x")
        self.refuse(tmp_path, rf"{tmp_path}/ravdess: holds no recordings \(\.wav, \.flac\).*https://zenodo")

    def test_flac_aiff_and_other_rates_are_read(self, small):
        write_clip(small / self.SAD, "sad", 1, format="AIFF")
        write_clip(small / "ravdess/Actor_03/03-01-04-01-01-01-03.wav", "sad", 3, rate=96_000)
        write_clip(small / "ravdess/Actor_04/03-01-04-01-01-01-04.flac", "sad", 4)
        lengths = [len(load_audio(row["audio"])) for row in load_corpus("ravdess", small)]
        assert [abs(n - 8000) <= 1 for n in lengths] == [True, False, True, True]

    def test_savee_is_read_without_folders(self, tmp_path):
        for path in make_savee(tmp_path / "one/savee").rglob("*.wav"):
            flat = tmp_path / f"two/savee/ALL/{path.parent.name}_{path.name}"
            flat.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, flat)
        one, two = (load_corpus("savee", tmp_path / name).remove_columns("audio")[:] for name in ("one", "two"))
        assert one == two


class TestRealCorpora:
    @pytest.mark.parametrize("name", REAL)
    def test_real_corpora_have_their_clips_and_labels(self, name, real_data):
        if not (real_data / name).is_dir():
            pytest.skip(f"SER_HF_DATA={real_data} holds no {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("error" if name in ("ravdess", "savee", "emodb", "nemo", "ased") else "ignore")
            table = load_corpus(name, real_data, download=False, unmapped="keep")
        assert (len(table), len(set(table["speaker"]))) == REAL[name]
        names = table.features["emotion"].names
        assert {names[label] for label in table["emotion"]} <= set(corpus_facts(name).emotions.values())
        if (real_data / name / "clips.csv").is_file():
            with (real_data / name / "clips.csv").open(encoding="utf-8") as file:
                lines = [(row["file"], row["speaker"], row["gender"], row["emotion"]) for row in csv.DictReader(file)]
            assert sorted(lines) == sorted(
                (
                    str(Path(row["audio"]["path"]).relative_to(real_data / name)),
                    row["speaker"],
                    row["gender"] or "",
                    names[row["emotion"]],
                )
                for row in table
            )
