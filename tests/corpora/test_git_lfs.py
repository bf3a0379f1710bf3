"""The download of a folder from a repository with git-lfs, against repositories of this machine."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora import cremad as corpus
from ser_hf.corpora.download import DownloadError
from ser_hf.corpora.git_lfs import fetch_folder
from tests.corpora.trees import make_cremad

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*of the official record"),
    pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs"),
]
N = 12


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A bare repository as the official one is: recordings and other large files in git-lfs, and a table."""
    root = tmp_path_factory.mktemp("lfs")
    work = root / "work"
    make_cremad(work, actors=(1001, 1002), seconds=0.3)
    (work / "AudioMP3").mkdir()
    (work / "AudioMP3/1001_DFA_ANG_XX.mp3").write_bytes(b"mp3")
    (work / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n")
    git(root, "init", "--bare", "official")
    git(work, "init")
    git(work, "lfs", "install", "--local")
    git(work, "lfs", "track", "AudioWAV/*", "AudioMP3/*")
    git(work, "add", ".")
    git(work, "commit", "-m", "all")
    git(work, "push", f"file://{root}/official", "HEAD:refs/heads/master")
    git(root / "official", "symbolic-ref", "HEAD", "refs/heads/master")
    return root / "official"


@pytest.fixture
def official(pushed, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "N_CLIPS", N)
    return shutil.copytree(pushed, tmp_path / "official")


@pytest.fixture
def mirror(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "mirror")


def large_files(repository):
    return sorted(path for path in (repository / "lfs/objects").rglob("*") if path.is_file())


def load(tmp_path, official, mirror, **options):
    return load_corpus("cremad", tmp_path / "data", url=f"file://{official}", mirror=f"file://{mirror}", **options)


def test_the_recordings_alone_are_downloaded(official, tmp_path):
    assert len(load(tmp_path, official, tmp_path / "none")) == N
    assert [path.name for path in (tmp_path / "data/cremad").iterdir()] == ["AudioWAV"]
    shutil.rmtree(official)
    assert len(load(tmp_path, official, tmp_path / "none")) == N  # what is there is not fetched again


def test_where_the_official_files_cannot_be_had_a_mirror_gives_them(official, mirror, tmp_path):
    shutil.rmtree(official / "lfs")
    assert len(load(tmp_path, official, mirror)) == N


def test_it_goes_on_where_it_ended(official, pushed, tmp_path):
    lost = large_files(official)[5:]
    for file in lost:
        file.unlink()
    with pytest.raises(CorpusError, match=r"CREMA-D could not be downloaded: git lfs pull.*Run again to go on, or"):
        load(tmp_path, official, tmp_path / "none")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".cremad-download"]
    came = {file.name for file in large_files(tmp_path / "data/.cremad-download/.git")}
    shutil.copytree(pushed / "lfs", official / "lfs", dirs_exist_ok=True)
    for file in large_files(official):
        if file.name in came:
            file.unlink()
    assert came  # so that the rest alone does not do
    assert len(load(tmp_path, official, tmp_path / "none")) == N


def test_a_file_that_is_not_the_official_one_is_refused(official, tmp_path):
    spoilt = large_files(official)[3]
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
    with pytest.raises(CorpusError, match="could not be downloaded"):
        load(tmp_path, official, tmp_path / "none")
    assert not (tmp_path / "data/cremad/AudioWAV").exists()


def test_a_repository_with_another_number_is_refused(official, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "N_CLIPS", N + 1)
    with pytest.raises(CorpusError, match=f"holds {N} recordings, not the {N + 1} of CREMA-D"):
        load(tmp_path, official, mirror)


def test_nothing_is_asked_without_leave(official, mirror, tmp_path):
    with pytest.raises(CorpusError, match=r"is not there; fetch it from https://github\.com"):
        load(tmp_path, official, mirror, download=False)
    assert not (tmp_path / "data").exists()


def test_a_repository_that_is_gone_is_told(tmp_path):
    with pytest.raises(CorpusError, match=r"CREMA-D could not be downloaded: git fetch .*Run again to go on, or"):
        load(tmp_path, tmp_path / "none", tmp_path / "none")


def test_without_git_lfs_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "git-lfs" else name)
    with pytest.raises(DownloadError, match="git-lfs is not installed"):
        fetch_folder("file:///none", [], "AudioWAV", tmp_path, "CREMA-D", 1)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch_folder("file:///none", [], "AudioWAV", tmp_path / "file/cremad", "CREMA-D", 1)
