import numpy as np
import pytest
import soundfile

from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError, load_audio
from ser_hf.features import FEATURES_VERSION, extract, feature_names
from ser_hf.features.table import default_cache_dir, extract_table
from tests.synthetic import make_clip


def extracted(sources, groups=("zcr",), cache_dir=None, n_jobs=1):
    return extract_table(sources, groups, n_jobs, cache_dir, progress=False)


def fill(cache_dir, row):
    """Replace every cached row."""
    for path in cache_dir.iterdir():
        np.savez(path, row=row)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for emotion in ("happy", "sad", "angry"):
        soundfile.write(folder / f"{emotion}.wav", make_clip(emotion), SAMPLE_RATE, subtype="FLOAT")
    return sorted(folder.glob("*.wav"))


def test_table_has_a_row_per_recording(clips, capfd):
    table = extract_table(clips, ["zcr", "energy"], n_jobs=1)
    assert "Extracting features: 100%" in capfd.readouterr().err
    assert list(table.columns) == feature_names(["zcr", "energy"])
    assert list(table.dtypes) == [np.float32] * table.shape[1]
    for path, row in zip(clips, table.to_numpy(), strict=True):
        np.testing.assert_array_equal(row, extract(load_audio(path), ["zcr", "energy"]))
    np.testing.assert_array_equal(extracted(clips, n_jobs=2), extracted(clips))
    assert extracted([]).shape == (0, len(feature_names(["zcr"])))


def test_cache_is_keyed_by_content_and_settings(clips, tmp_path, monkeypatch):
    first = extracted(clips, cache_dir=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"] * len(clips)
    fill(tmp_path, np.full(first.shape[1], 7, np.float32))
    copies = [path.read_bytes() for path in clips]
    assert (extracted(copies, cache_dir=tmp_path) == 7).all(axis=None)
    assert not (extracted(clips, ["energy"], tmp_path) == 7).any(axis=None)
    monkeypatch.setattr("ser_hf.features.table.FEATURES_VERSION", FEATURES_VERSION + 1)
    np.testing.assert_array_equal(extracted(clips, cache_dir=tmp_path), first)


def test_cache_is_found_without_decoding(clips, tmp_path, monkeypatch):
    first = extracted(clips, cache_dir=tmp_path)
    monkeypatch.setattr("ser_hf.features.table._row", pytest.fail)
    monkeypatch.setattr("ser_hf.features.table.load_audio", pytest.fail)
    again = extracted([{"path": str(path), "bytes": None} for path in clips], cache_dir=tmp_path, n_jobs=2)
    np.testing.assert_array_equal(again, first)


def test_cache_keeps_samples_without_a_file(tmp_path):
    clip = make_clip("calm")
    for source in (clip, clip.copy(), {"array": clip, "sampling_rate": SAMPLE_RATE}):
        extracted([source], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    extracted([clip / 2], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "text", "half", "one byte"])
def test_cache_replaces_damaged_files(clips, tmp_path, damage):
    expected = extracted(clips[:1], cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    position = content.index(expected.to_numpy()[0].tobytes())
    flipped = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    path.write_bytes({"empty": b"", "text": b"hello", "half": content[: len(content) // 2]}.get(damage, flipped))
    np.testing.assert_array_equal(extracted(clips[:1], cache_dir=tmp_path), expected)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["row"], expected.to_numpy()[0])


def test_cache_folder_may_be_unwritable(clips, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert np.isfinite(extracted(clips, cache_dir=tmp_path / "file")).all(axis=None)


def test_default_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path / "features"
    monkeypatch.delenv("SER_HF_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "ser_hf" / "features"


@pytest.mark.parametrize("content", [None, "not a sound"])
def test_table_names_unreadable_recordings(clips, tmp_path, content):
    broken = tmp_path / "broken.wav"
    if content:
        broken.write_text(content)
    for cache in (tmp_path / "cache", None):
        with pytest.raises(UnreadableAudioError, match=r"broken\.wav"):
            extracted([*clips, broken], cache_dir=cache, n_jobs=2 if content and not cache else 1)


def test_pitch_of_men_is_below_that_of_women(real_data):
    medians = []
    for actor in ("01", "02"):
        table = extracted(sorted((real_data / "ravdess" / f"Actor_{actor}").glob("03-01-01*")), ["pitch"])
        assert (table["voiced_fraction"] > 0.2).all()
        medians.append(table["pitch_p50"].median())
    assert medians[0] < medians[1] - 4  # semitones
