import hashlib
import itertools
import shutil
import sys
import threading
import warnings
import zipfile
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import load_audio
from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.corpora.ravdess import FIELDS, ZIP_NAME, ClipName, load, parse_name, unpack
from ser_hf.labels import LABELS
from tests.synthetic import make_clip, make_ravdess

# Synthetic corpora have fewer clips an actor than the official 60; the test of that warning asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 60 clips")

NAMES = st.tuples(*(st.sampled_from(values) for values in FIELDS.values())).filter(lambda f: f[2:4] != ("01", "02"))


@pytest.fixture
def small(tmp_path) -> Path:
    """A data folder with actors 1 and 2 of a synthetic RAVDESS, three emotions, short clips."""
    make_ravdess(tmp_path / "ravdess", actors=(1, 2), emotions=("neutral", "happy", "sad"), seconds=0.5)
    return tmp_path


def official_zip(folder: Path, path: Path, prefix: str = "") -> Path:
    """The recordings of `folder` as the official record packs them, with the folder entries it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for actor in sorted(folder.glob("Actor_*")):
            file.mkdir(prefix + actor.name)
            for clip in sorted(actor.iterdir()):
                file.write(clip, f"{prefix}{actor.name}/{clip.name}")
    return path


class TestNames:
    @given(NAMES, st.sampled_from(["", ".wav", ".flac", ".WAV"]), st.sampled_from(["", "Actor_01/", "/a b/c.d/"]))
    def test_parse_and_format_are_inverse(self, fields, suffix, folder):
        name = parse_name(f"{folder}{'-'.join(fields)}{suffix}")
        assert tuple(name) == fields
        assert str(name) == "-".join(fields)

    @given(NAMES, st.integers(0, 6), st.text("0123456789ab", max_size=3))
    def test_a_wrong_field_is_named_with_its_value(self, fields, position, value):
        field, allowed = list(FIELDS.items())[position]
        if value in allowed:
            return
        wrong = "-".join([*fields[:position], value, *fields[position + 1 :]]) + ".wav"
        with pytest.raises(CorpusError, match=f"^{wrong}: {field} is '{value}'"):
            parse_name(wrong)

    @pytest.mark.parametrize("name", ["", "a.wav", "03-01-01-01-01-01.wav", "03-01-01-01-01-01-01-01", "03_01_01_01"])
    def test_other_names(self, name):
        with pytest.raises(CorpusError, match="seven two-digit fields"):
            parse_name(name)

    def test_neutral_is_never_strong(self):
        with pytest.raises(CorpusError, match="neutral"):
            parse_name("03-01-01-02-01-01-01.wav")

    def test_gender(self):
        assert parse_name("03-01-02-02-01-01-23").gender == "male"
        assert parse_name("03-01-02-02-01-01-24").gender == "female"

    def test_only_audio_of_speech_is_speech(self):
        kinds = itertools.product(FIELDS["modality"], FIELDS["channel"])
        speech = [kind for kind in kinds if ClipName(*kind, "01", "01", "01", "01", "01").is_audio_speech]
        assert speech == [("03", "01")]


class TestTable:
    def test_columns(self, corpus_dir):
        table = load_corpus("ravdess", data_dir=corpus_dir)
        assert len(table) == 24 * 8
        assert table.features["emotion"].names == list(LABELS)
        assert table[0] == {
            "clip": "03-01-01-01-01-01-01",
            "audio": {"path": str(corpus_dir / "ravdess/Actor_01/03-01-01-01-01-01-01.wav"), "bytes": None},
            "emotion": 0,
            "speaker": "01",
            "gender": "male",
            "statement": "Kids are talking by the door",
            "intensity": "normal",
            "repetition": 1,
            "corpus": "ravdess",
        }
        assert np.array_equal(load_audio(table[10]["audio"]), load_audio(table[10]["audio"]["path"]))

    def test_no_torchcodec(self, corpus_dir):
        load_corpus("ravdess", data_dir=corpus_dir)[:]
        assert "torchcodec" not in sys.modules

    def test_order_is_actor_then_name(self, corpus_dir):
        table = load_corpus("ravdess", data_dir=corpus_dir)
        keys = list(zip(table["speaker"], table["clip"], strict=True))
        assert keys == sorted(keys)

    def test_all_values_are_told_apart(self, tmp_path):
        make_ravdess(
            tmp_path / "ravdess",
            actors=(2,),
            emotions=("neutral", "angry"),
            repetitions=(1, 2),
            statements=(1, 2),
            intensities=("normal", "strong"),
            seconds=0.3,
        )
        table = load_corpus("ravdess", tmp_path, actors=[2]).to_pandas()
        assert len(table) == 4 + 8
        assert Counter(table["intensity"]) == {"normal": 8, "strong": 4}
        assert Counter(table["statement"]) == {"Kids are talking by the door": 6, "Dogs are sitting by the door": 6}
        assert Counter(table["repetition"]) == {1: 6, 2: 6}
        assert set(table["gender"]) == {"female"}
        strong = table[table["intensity"] == "strong"]
        assert set(strong["clip"].str[9:11]) == {"02"}

    def test_wav_and_flac_may_mix(self, small):
        for path in sorted((small / "ravdess" / "Actor_01").iterdir())[:2]:
            samples, rate = soundfile.read(path)
            soundfile.write(path.with_suffix(".flac"), samples, rate)
            path.unlink()
        table = load_corpus("ravdess", small, actors=[1, 2])
        assert len(table) == 6
        assert len(set(table["clip"])) == 6

    def test_environment_names_the_data(self, small, monkeypatch):
        monkeypatch.setenv("SER_HF_DATA", str(small))
        assert len(load_corpus("ravdess", actors=[1])) == 3

    def test_else_the_data_folder_of_the_working_folder(self, small, monkeypatch, tmp_path):
        monkeypatch.delenv("SER_HF_DATA", raising=False)
        (tmp_path / "work").mkdir()
        shutil.copytree(small / "ravdess", tmp_path / "work" / "data" / "ravdess")
        monkeypatch.chdir(tmp_path / "work")
        table = load_corpus("ravdess", actors=[1])
        monkeypatch.chdir(tmp_path)
        assert load_audio(table[0]["audio"]).size  # paths hold wherever the program goes

    def test_real_corpus(self, real_data):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = load_corpus("ravdess", data_dir=real_data, download=False)
        assert len(table) == 1440
        counts = Counter(LABELS[emotion] for emotion in table["emotion"])
        assert counts == {label: 96 if label == "neutral" else 192 for label in LABELS}
        assert set(Counter(table["speaker"]).values()) == {60}
        assert Counter(table["gender"]) == {"male": 720, "female": 720}
        # the one pair of equal recordings is left as the official record has it
        assert {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"} <= set(table["clip"])


class TestFingerprint:
    def test_tells_the_corpus(self, small):
        table = load_corpus("ravdess", small, actors=[1, 2])
        before = corpus_fingerprint(table)
        assert len(before) == 16
        assert corpus_fingerprint(load_corpus("ravdess", small, actors=[1, 2])) == before
        assert corpus_fingerprint(table.select(range(5))) != before
        assert corpus_fingerprint(table.map(lambda row: {"emotion": 7 - row["emotion"]})) != before
        path = Path(table[3]["audio"]["path"])
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert corpus_fingerprint(table) != before

    def test_place_does_not_matter(self, small, tmp_path):
        shutil.copytree(small / "ravdess", tmp_path / "other" / "ravdess")
        here, there = (load_corpus("ravdess", folder, actors=[1]) for folder in (small, tmp_path / "other"))
        assert corpus_fingerprint(here) == corpus_fingerprint(there)

    def test_bytes_count_as_their_file(self, small):
        table = load_corpus("ravdess", small, actors=[1])
        with_bytes = table.map(lambda row: {"audio": {"bytes": Path(row["audio"]["path"]).read_bytes(), "path": None}})
        assert corpus_fingerprint(with_bytes) == corpus_fingerprint(table)


class TestBadCorpora:
    def refuse(self, folder, words, **options):
        with pytest.raises(CorpusError, match=words):
            load_corpus("ravdess", folder, download=False, **options)

    def test_unknown_corpus(self, tmp_path):
        with pytest.raises(CorpusError, match="there is no corpus 'ravdes'; did you mean 'ravdess'"):
            load_corpus("ravdes", tmp_path)

    def test_missing_actor(self, corpus_dir, tmp_path):
        shutil.copytree(corpus_dir / "ravdess", tmp_path / "ravdess")
        shutil.rmtree(tmp_path / "ravdess" / "Actor_07")
        shutil.rmtree(tmp_path / "ravdess" / "Actor_21")
        (tmp_path / "ravdess" / "Actor_21").mkdir()
        self.refuse(tmp_path, "no clips of Actor_07, Actor_21;")
        assert len(load_corpus("ravdess", tmp_path, actors=[1, 2])) == 16
        self.refuse(tmp_path, "Actor_07", actors=[6, 7])

    def test_incomplete_actors_are_told(self, small):
        with pytest.warns(UserWarning, match=r"2 actors have fewer than 60 clips \(actor 01 has 3, 02 has 3\)"):
            load_corpus("ravdess", small, actors=[1, 2])

    def test_wrong_name(self, small):
        (small / "ravdess/Actor_01/03-01-03-01-01-01-01.wav").rename(
            small / "ravdess/Actor_01/03-01-09-01-01-01-01.wav"
        )
        self.refuse(small, "Actor_01/03-01-09-01-01-01-01.wav: emotion is '09'; expected 01 to 08", actors=[1, 2])

    def test_wrong_folder(self, small):
        (small / "ravdess/Actor_01/03-01-03-01-01-01-01.wav").rename(
            small / "ravdess/Actor_02/03-01-03-01-01-01-01.wav"
        )
        self.refuse(small, "actor is '01', but the folder is Actor_02", actors=[1, 2])

    def test_same_clip_twice(self, small):
        path = small / "ravdess/Actor_01/03-01-03-01-01-01-01.wav"
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        self.refuse(small, "03-01-03-01-01-01-01.wav: the same clip as 03-01-03-01-01-01-01.flac", actors=[1])

    def test_lossy_copy(self, small):
        path = small / "ravdess/Actor_01/03-01-03-01-01-01-01.wav"
        path.rename(path.with_suffix(".mp3"))
        self.refuse(small, r"wav or flac, not \.mp3", actors=[1])

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", "the file is empty"), (b"no sound\n" * 99, "not a recording that can be read")],
        ids=["empty", "text"],
    )
    def test_unreadable_file(self, small, content, words):
        path = small / "ravdess/Actor_02/03-01-04-01-01-01-02.wav"
        path.write_bytes(content)
        self.refuse(small, f"{path}: {words}", actors=[1, 2])

    def test_file_without_samples(self, small):
        path = small / "ravdess/Actor_02/03-01-04-01-01-01-02.wav"
        soundfile.write(path, np.zeros(0), 16_000)
        self.refuse(small, f"{path}: holds no sound", actors=[1, 2])

    def test_several_unreadable_files_are_counted(self, small):
        for path in (small / "ravdess/Actor_02").iterdir():
            path.write_bytes(b"")
        self.refuse(small, r"03-01-01-01-01-01-02.wav: .* \(and 2 more\)", actors=[1, 2])

    def test_other_files_are_ignored(self, small):
        for name in (".DS_Store", "readme.txt", "._03-01-03-01-01-01-01.wav", "cover.jpg"):
            (small / "ravdess/Actor_01" / name).write_bytes(b"something else")
        (small / "ravdess" / "LICENSE.txt").write_text("CC BY-NC-SA 4.0")
        assert len(load_corpus("ravdess", small, actors=[1, 2])) == 6

    def test_song_is_left_out_with_a_warning(self, small):
        soundfile.write(small / "ravdess/Actor_01/03-02-03-01-01-01-01.wav", make_clip("happy", seconds=0.3), 16_000)
        with pytest.warns(UserWarning, match="1 recordings of song or video were left out"):
            table = load_corpus("ravdess", small, actors=[1, 2])
        assert len(table) == 6

    def test_folder_without_audio(self, tmp_path):
        (tmp_path / "ravdess" / "Actor_01").mkdir(parents=True)
        self.refuse(tmp_path, "hold no wav or flac recording")

    def test_folder_of_something_else(self, tmp_path):
        (tmp_path / "ravdess" / "audio_speech_actors_01-24").mkdir(parents=True)
        with pytest.raises(CorpusError, match=r"holds no Actor_XX folder .*audio_speech_actors_01-24"):
            load_corpus("ravdess", tmp_path, download=True)

    def test_actors_directly_in_the_data_folder(self, tmp_path):
        make_ravdess(tmp_path, actors=(1,), emotions=("sad",), seconds=0.3)
        with pytest.raises(CorpusError, match=f"move them into {tmp_path}/ravdess"):
            load_corpus("ravdess", tmp_path, download=True)

    def test_nothing_there(self, tmp_path):
        self.refuse(tmp_path, "RAVDESS is not there; download .*https://zenodo.org/records/1188976")


class TestZip:
    @pytest.mark.parametrize("place", ["", "ravdess"])
    @pytest.mark.parametrize("prefix", ["", "Audio_Speech_Actors_01-24/"])
    def test_the_official_zip_is_unpacked_once(self, small, tmp_path, place, prefix):
        data_dir = tmp_path / "other"
        archive = official_zip(small / "ravdess", data_dir / place / ZIP_NAME, prefix)
        table = load_corpus("ravdess", data_dir, actors=[1, 2], download=False)
        assert corpus_fingerprint(table) == corpus_fingerprint(load_corpus("ravdess", small, actors=[1, 2]))
        assert archive.exists()  # it is the user's
        archive.write_bytes(b"")
        assert len(load_corpus("ravdess", data_dir, actors=[1, 2], download=False)) == 6

    def test_other_members_are_left_in_it(self, small, tmp_path):
        archive = official_zip(small / "ravdess", tmp_path / ZIP_NAME)
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("__MACOSX/Actor_01/._03-01-03-01-01-01-01.wav", b"x")
            file.writestr("README.txt", b"x")
        unpack(archive, tmp_path / "out")
        assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == 6

    @pytest.mark.parametrize("where", ["../../", "/", "{tmp_path}/"])
    def test_nothing_is_written_elsewhere(self, small, tmp_path, where):
        archive = official_zip(small / "ravdess", tmp_path / ZIP_NAME)
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(where.format(tmp_path=tmp_path) + "03-01-03-01-01-02-02.wav", b"x")
        before = set(tmp_path.rglob("*"))
        unpack(archive, tmp_path / "out")
        new = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
        assert len(new) == 7
        assert {path.parent.parent for path in new} == {tmp_path / "out"}

    def test_wrong_name_in_it(self, small, tmp_path):
        archive = official_zip(small / "ravdess", tmp_path / ZIP_NAME)
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("Actor_01/song.wav", b"x")
        with pytest.raises(CorpusError, match=r"Actor_01/song\.wav: not an official RAVDESS name"):
            unpack(archive, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    def test_member_that_would_fill_the_disk(self, tmp_path):
        with zipfile.ZipFile(tmp_path / ZIP_NAME, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("Actor_01/03-01-03-01-01-01-01.wav", bytes(50_000_001))
        with pytest.raises(CorpusError, match="far too large"):
            unpack(tmp_path / ZIP_NAME, tmp_path / "out")

    @pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
    def test_damaged_zip(self, small, tmp_path, damage):
        archive = official_zip(small / "ravdess", tmp_path / "other" / ZIP_NAME)
        content = bytearray(archive.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 255  # found by the checksum that each member carries
        archive.write_bytes({"cut": content[:-500], "flipped": content, "text": b"not a zip"}[damage])
        with pytest.raises(CorpusError, match=f"{ZIP_NAME}: not a whole zip file"):
            load_corpus("ravdess", tmp_path / "other", actors=[1, 2])
        assert not list((tmp_path / "other").rglob("*.wav"))


class TestDownload:
    @pytest.fixture
    def mirror(self, small, tmp_path):
        """A web server with an official zip: (url, md5, size)."""
        content = official_zip(small / "ravdess", tmp_path / "mirror" / ZIP_NAME).read_bytes()
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}/{ZIP_NAME}"
            yield {"url": url, "md5": hashlib.md5(content).hexdigest(), "size": len(content)}
            server.shutdown()

    def test_absent_corpus_is_downloaded_and_unpacked(self, small, tmp_path, mirror):
        table = load(tmp_path / "new", actors=[1, 2], **mirror)
        assert corpus_fingerprint(table) == corpus_fingerprint(load(small, actors=[1, 2]))
        left = sorted(path.name for path in (tmp_path / "new" / "ravdess").iterdir())
        assert left == ["Actor_01", "Actor_02"]

    def test_a_download_that_was_broken_off_goes_on(self, tmp_path, mirror):
        (tmp_path / "new" / "ravdess").mkdir(parents=True)
        (tmp_path / "new" / "ravdess" / f"{ZIP_NAME}.part").write_bytes(b"PK")
        assert len(load(tmp_path / "new", actors=[1, 2], **mirror)) == 6

    def test_failure_says_what_to_do_by_hand(self, tmp_path, mirror):
        mirror["md5"] = "0" * 32
        words = f"could not be downloaded: .*md5.* put it into {tmp_path}/new/ravdess"
        with pytest.raises(CorpusError, match=words):
            load(tmp_path / "new", **mirror)

    def test_no_download_when_it_is_not_allowed(self, tmp_path, mirror):
        with pytest.raises(CorpusError, match="or allow the download"):
            load(tmp_path / "new", download=False, **mirror)
        assert not (tmp_path / "new").exists()
