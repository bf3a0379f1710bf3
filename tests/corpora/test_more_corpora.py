"""EMOVO, nEMO, ASED, the Korean corpus and EmoGator: names, selections, downloads, and the real files."""

from __future__ import annotations

import csv
import importlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ser_hf.audio import load_audio
from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.labels import LABELS
from tests.corpora.trees import OFFICIAL, make_official

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")
WRONG = {
    "emovo": ["dis-f4-b1", "bor-f1-b1", "dis-f1-d3", "dis-f1"],
    "nemo": ["XX0_anger_1", "EB0_calm_1", "EB0_anger_0", "EB0_anger_100"],
    "ased": ["n2-06-01-01-01", "n1-08-01-01-01", "n1-06-03-01-01", "n1-06-01-01-66", "\u017f4-06-01-01-01"],
    "korean-emotion-tts": ["nef00001", "nea00000", "nea00401", "nea001", "lmy00001"],
    "emogator": ["000358-03-1", "000000-03-1", "000001-31-1", "000001-03-4", "1-03-1"],
}
REAL = {"emovo": (294, 6), "nemo": (477, 9), "ased": (738, 37), "korean-emotion-tts": (180, 15), "emogator": (648, 72)}


def module(name):
    return importlib.import_module(f"ser_hf.corpora.{name.replace('-', '_')}")


def clips(table):
    return table["clip"][:]


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in OFFICIAL.items() for path in paths])
def test_parse_name_reads_official_names(name, path):
    clip = module(name).parse_name(path)
    assert (clip.clip, clip[1:4]) == (Path(path).stem, OFFICIAL[name][path])


@pytest.mark.parametrize(("name", "stem"), [(name, stem) for name, stems in WRONG.items() for stem in stems])
def test_parse_name_refuses_other_names(name, stem):
    with pytest.raises(
        CorpusError, match=rf"x/{stem}\.wav: not an official .*such as {Path(next(iter(OFFICIAL[name]))).stem}"
    ):
        module(name).parse_name(f"x/{stem}.wav")


@pytest.mark.parametrize("name", OFFICIAL)
def test_rows_in_order_of_names(name, tmp_path):
    make_official(name, tmp_path / name, seconds=0.3)
    table = load_corpus(name, tmp_path, download=False)
    said = {Path(path).stem: facts for path, facts in OFFICIAL[name].items()}
    rows = {row["clip"]: (LABELS[row["emotion"]], row["speaker"], row["gender"]) for row in table}
    assert rows == said
    assert clips(table) == sorted(said)
    assert set(table["corpus"]) == {name}
    assert len(load_audio(table[0]["audio"])) > 4000


def test_nemo_takes_the_first_nine_by_name(tmp_path):
    make_official("nemo", tmp_path / "nemo", [f"samples/EB0_anger_{n}.flac" for n in range(1, 21)], seconds=0.1)
    numbers = [int(clip.rpartition("_")[2]) for clip in clips(load_corpus("nemo", tmp_path))]
    assert numbers == [1, *range(10, 18)]
    assert len(load_corpus("nemo", tmp_path, per_label=None)) == 20
    assert len(load_corpus("nemo", tmp_path, per_label=2)) == 2


def test_ased_takes_common_sentences_without_copies(tmp_path):
    names = ["a5-05-01-01-01", "a5-06-01-01-01", "a5-07-01-02-63", "a5-07-02-02-63"]
    make_official("ased", tmp_path / "ased", [f"05Angry/{name}.wav" for name in names], seconds=0.1)
    assert clips(load_corpus("ased", tmp_path)) == names[1:3]
    assert clips(load_corpus("ased", tmp_path, sentences="all")) == names[:3]
    with pytest.raises(CorpusError, match="sentences must be 'common' or 'all', not 'some'"):
        load_corpus("ased", tmp_path, sentences="some")


def test_emogator_selects_contributors_takes_and_labels(tmp_path):
    names = ["000001-02-1", "000001-03-1", "000001-03-2", "000073-03-1"]
    make_official("emogator", tmp_path / "emogator", [f"data/mp3/{name}.mp3" for name in names], seconds=0.3)
    with pytest.warns(UserWarning, match="emogator: 1 clips of amusement were left out"):
        assert clips(load_corpus("emogator", tmp_path)) == names[1:2]
    kept = load_corpus("emogator", tmp_path, unmapped="keep", contributors=357, takes=(1, 2))
    assert clips(kept) == names
    assert kept.features["emotion"].names[len(LABELS) :] == ["amusement"]
    assert kept["repetition"][:] == [1, 1, 2, 1]
    with pytest.raises(CorpusError, match=r"emogator: holds no takes \[3\]"):
        load_corpus("emogator", tmp_path, takes=[3])


@pytest.fixture
def site(tmp_path):
    """Serves zips as GitHub makes them; called with a corpus's name, returns the address."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serve(name):
        tree = make_official(name, tmp_path / "made", seconds=0.3)
        top = "repository-1a2b/" + ("Dataset/SpeechCorpus/Emotional/" if name == "korean-emotion-tts" else "")
        with zipfile.ZipFile(tmp_path / "main.zip", "w") as file:
            file.writestr("repository-1a2b/README.md", "x")
            if name == "korean-emotion-tts":
                file.writestr("repository-1a2b/Dataset/SpeechCorpus/Main/main/lmy/wav/lmy00001.wav", "x")
            for path in OFFICIAL[name]:
                file.write(tree / path, top + path)
        return f"http://127.0.0.1:{server.server_port}/main.zip"

    yield serve
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", [name for name in OFFICIAL if name != "emovo"])
def test_download_unpacks_the_official_layout(name, site, tmp_path, monkeypatch):
    url, folder = site(name), tmp_path / "data" / name
    monkeypatch.setattr(module(name), "N_CLIPS", len(OFFICIAL[name]) + 1)
    with pytest.raises(CorpusError, match=rf"holds {len(OFFICIAL[name])} recordings.*free"):
        load_corpus(name, folder.parent, url=url)
    with pytest.raises(CorpusError, match=r"could not be downloaded: .* 404 .*free"):
        load_corpus(name, folder.parent, url=url + "x")
    assert not any(folder.iterdir())
    monkeypatch.setattr(module(name), "N_CLIPS", len(OFFICIAL[name]))
    assert len(load_corpus(name, folder.parent, url=url)) == len(OFFICIAL[name])
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == set(OFFICIAL[name])


@pytest.mark.parametrize("name", OFFICIAL)
def test_real_corpus_is_what_its_list_says(name, real_data):
    if not (real_data / name / "clips.csv").is_file():
        pytest.skip(f"SER_HF_DATA={real_data} holds no {name}/clips.csv")
    table = load_corpus(name, real_data, download=False)
    assert (len(table), len(set(table["speaker"]))) == REAL[name]
    with (real_data / name / "clips.csv").open() as file:
        listed = {(row["file"], row["speaker"], row["gender"] or None, row["emotion"]) for row in csv.DictReader(file)}
    assert listed == {
        (
            str(Path(row["audio"]["path"]).relative_to(real_data / name)),
            row["speaker"],
            row["gender"],
            LABELS[row["emotion"]],
        )
        for row in table
    }
