"""EmoDB: its names, its zip, its listeners, and the real corpus where it is there."""

from __future__ import annotations

import threading
import zipfile
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ser_hf.audio import load_audio
from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora import emodb as corpus
from ser_hf.corpora.emodb import GENDERS, N_CLIPS, STATEMENTS, listener_scores, parse_name
from ser_hf.labels import EMODB_EMOTIONS, LABELS
from tests.corpora.trees import make_emodb, write_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom were left out")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("emodb")
    make_emodb(data_dir / "emodb", seconds=0.3)
    return data_dir


def test_rows(tree, tmp_path):
    write_clip(tmp_path / "emodb/wav/16b10Tc.wav", "sad", 16)
    (row,) = load_corpus("emodb", tmp_path)
    assert row == {
        "clip": "16b10Tc",
        "audio": {"path": str(tmp_path / "emodb/wav/16b10Tc.wav"), "bytes": None},
        "emotion": LABELS.index("sad"),
        "speaker": "16",
        "gender": "female",
        "statement": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        "intensity": None,
        "repetition": 3,
        "corpus": "emodb",
    }
    table = load_corpus("emodb", tree)
    assert Counter(LABELS[i] for i in table["emotion"]) == dict.fromkeys(
        ("angry", "disgust", "fearful", "happy", "sad", "neutral"), 10
    )
    genders = Counter(dict(zip(table["speaker"], table["gender"], strict=True)).values())
    assert genders == {"male": 5, "female": 5}


def test_boredom_is_dropped_and_counted_or_kept(tree):
    with pytest.warns(UserWarning, match="emodb: 10 clips of boredom were left out"):
        assert len(load_corpus("emodb", tree)) == 60
    kept = load_corpus("emodb", tree, unmapped="keep")
    assert len(kept) == 70
    assert kept.features["emotion"].names[-1] == "boredom"
    assert sum(kept.features["emotion"].int2str(i) == "boredom" for i in kept["emotion"]) == 10


@pytest.mark.parametrize("name", ["01a01Fa", "03a03Fa", "03a01Xa", "03a01F", "03a01FA", "03a01Fab"])
def test_wrong_names_are_told(name):
    with pytest.raises(CorpusError, match=r"not an official EmoDB name; expected speaker \(03, 08"):
        parse_name(f"wav/{name}.wav")


class TestZip:
    @pytest.fixture
    def archive(self, tree, tmp_path, monkeypatch):
        """The tree as the official site packs it, with what lies beside wav; it is whole with 70 clips here."""
        monkeypatch.setattr(corpus, "N_CLIPS", 70)
        path = tmp_path / "site" / "download.zip"
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as file:
            for clip in sorted((tree / "emodb/wav").iterdir()):
                file.write(clip, f"wav/{clip.name}")
            file.writestr("lablaut/03a01Fa.lablaut", "x")
            file.writestr("erklaerung.txt", "x")
            file.writestr("erkennung.txt", "Nr.\tSatz\terkannt\tnatuerlich\n")
        return path

    @pytest.fixture
    def url(self, archive):
        handler = partial(SimpleHTTPRequestHandler, directory=archive.parent)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/download.zip"
        server.shutdown()
        server.server_close()

    def test_it_is_downloaded_unpacked_and_removed(self, url, tree, tmp_path):
        table = load_corpus("emodb", tmp_path, url=url)
        assert table.remove_columns("audio")[:] == load_corpus("emodb", tree).remove_columns("audio")[:]
        assert sorted(path.name for path in (tmp_path / "emodb").iterdir()) == ["erkennung.txt", "wav"]

    def test_one_that_lies_there_is_used_and_kept(self, archive, tmp_path):
        (tmp_path / "emodb").mkdir()
        archive.rename(tmp_path / "emodb/download.zip")
        assert len(load_corpus("emodb", tmp_path, download=False)) == 60
        assert (tmp_path / "emodb/download.zip").is_file()

    def test_a_record_that_is_not_whole_is_refused(self, url, tmp_path, monkeypatch):
        monkeypatch.setattr(corpus, "N_CLIPS", 71)
        with pytest.raises(CorpusError, match="holds 70 recordings, not the 71 of EmoDB"):
            load_corpus("emodb", tmp_path, url=url)
        assert not any((tmp_path / "emodb").iterdir())

    def test_a_site_that_is_gone_is_told_with_what_to_do(self, url, tmp_path):
        with pytest.raises(CorpusError, match=r"could not be downloaded: .* answers 404 .* or download http://emodb"):
            load_corpus("emodb", tmp_path, url=url + "x")

    def test_no_member_is_written_elsewhere(self, archive, tmp_path):
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("../../wav/../03a02Fa.wav", b"x")
        (tmp_path / "emodb").mkdir()
        archive.rename(tmp_path / "emodb/download.zip")
        before = set(tmp_path.rglob("*"))
        with pytest.raises(CorpusError, match="holds 71 recordings"):
            load_corpus("emodb", tmp_path)
        assert all(path.is_relative_to(tmp_path / "emodb") for path in set(tmp_path.rglob("*")) - before)


class TestListeners:
    def test_shares(self, tmp_path):
        text = "Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\xa0\t03a01Ab.wav\t65,00\xa0\xa0\t35,00\xa0\n\n"
        (tmp_path / "erkennung.txt").write_text(text, encoding="latin-1")
        assert listener_scores(tmp_path / "erkennung.txt") == {"03a01Ab": (0.65, 0.35)}

    def test_another_file_is_refused(self, tmp_path):
        (tmp_path / "other.txt").write_text("a\nb\n")
        with pytest.raises(CorpusError, match=r"other\.txt: not the list of judgements"):
            listener_scores(tmp_path / "other.txt")
        with pytest.raises(CorpusError, match=r"none\.txt: cannot be read"):
            listener_scores(tmp_path / "none.txt")


@pytest.fixture(scope="module")
def real(real_data):
    if not (real_data / "emodb").is_dir():
        pytest.skip(f"SER_HF_DATA={real_data} holds no emodb")
    return load_corpus("emodb", real_data, download=False, unmapped="keep")


class TestRealCorpus:
    def test_counts(self, real):
        names = real.features["emotion"].names
        assert len(real) == N_CLIPS
        assert Counter(names[i] for i in real["emotion"]) == {
            "angry": 127,
            "boredom": 81,
            "disgust": 46,
            "fearful": 69,
            "happy": 71,
            "sad": 62,
            "neutral": 79,
        }
        assert set(real["speaker"]) == set(GENDERS)
        assert set(real["statement"]) == set(STATEMENTS.values())
        assert {row[5] for row in real["clip"]} == set(EMODB_EMOTIONS)

    def test_every_clip_was_recognised_by_four_in_five_listeners(self, real, real_data):
        scores = listener_scores(real_data / "emodb/erkennung.txt")
        assert len(scores) == 816
        assert min(scores[clip][0] for clip in real["clip"]) == 0.8

    def test_a_clip_is_heard(self, real):
        assert 1 < len(load_audio(real[0]["audio"])) / 16_000 < 3
