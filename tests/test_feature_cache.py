import numpy as np
import pytest

from ser_hf.feature_cache import FeatureCache, default_cache_dir

SAMPLES = np.linspace(-1, 1, 1000, dtype=np.float32)
ROW = np.array([1.5, np.nan, -3], dtype=np.float32)


@pytest.fixture
def cache(tmp_path):
    cache = FeatureCache(tmp_path / "features", groups=["zcr"], version=1)
    cache.write(SAMPLES, ROW)
    return cache


def test_what_was_written_is_read(cache):
    np.testing.assert_array_equal(cache.read(SAMPLES), ROW)
    assert [path.suffix for path in cache.folder.iterdir()] == [".npz"]


def test_other_samples_and_other_settings_are_not_there(cache):
    changed = SAMPLES.copy()
    changed[500] += 1e-6
    assert cache.read(changed) is None
    assert FeatureCache(cache.folder, groups=["zcr"], version=2).read(SAMPLES) is None
    assert FeatureCache(cache.folder, groups=["mfcc"], version=1).read(SAMPLES) is None
    assert FeatureCache(cache.folder, version=1, groups=["zcr"]).read(SAMPLES) is not None


@pytest.mark.parametrize("damage", ["empty", "text", "half", "one byte", "other array"])
def test_damaged_file_counts_as_not_there_and_is_written_again(cache, damage):
    path = cache.path(SAMPLES)
    content = path.read_bytes()
    position = content.index(ROW.tobytes())
    flipped = content[:position] + b"\xff" + content[position + 1 :]
    if damage == "other array":
        np.savez(path, column=ROW)
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "half": content[: len(content) // 2]}.get(damage, flipped))
    assert cache.read(SAMPLES) is None
    cache.write(SAMPLES, ROW)
    np.testing.assert_array_equal(cache.read(SAMPLES), ROW)


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path / "features"
    monkeypatch.delenv("SER_HF_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "ser_hf" / "features"


def test_folder_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    cache.write(SAMPLES, ROW)
    assert cache.read(SAMPLES) is None
