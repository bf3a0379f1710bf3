import numpy as np
import pytest
import soundfile

from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError
from ser_hf.feature_cache import FeatureCache
from ser_hf.feature_table import extract_table
from ser_hf.features import FEATURES_VERSION, extract, feature_names
from tests.synthetic import make_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for emotion in ("happy", "sad", "angry"):
        soundfile.write(folder / f"{emotion}.wav", make_clip(emotion), SAMPLE_RATE, subtype="FLOAT")
    return sorted(folder.glob("*.wav"))


def test_table_holds_each_recording_in_order(clips):
    table = extract_table(clips, ["zcr", "energy"], n_jobs=1, progress=False)
    assert list(table.columns) == feature_names(["zcr", "energy"])
    assert list(table.dtypes) == [np.float32] * table.shape[1]
    for path, row in zip(clips, table.to_numpy(), strict=True):
        np.testing.assert_array_equal(row, extract(make_clip(path.stem), ["zcr", "energy"]))


def test_processes_give_the_same_table(clips):
    alone = extract_table(clips, ["zcr"], n_jobs=1, progress=False)
    np.testing.assert_array_equal(extract_table(clips, ["zcr"], n_jobs=2, progress=False), alone)


def test_table_of_nothing_has_its_columns():
    assert extract_table([], ["zcr"], n_jobs=1, progress=False).shape == (0, len(feature_names(["zcr"])))


def test_table_shows_a_progress_bar(clips, capfd):
    extract_table(clips, ["zcr"], n_jobs=1)
    assert "Extracting features: 100%" in capfd.readouterr().err


def test_table_is_read_from_the_cache_when_content_and_settings_are_the_same(clips, tmp_path):
    first = extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    entries = sorted(tmp_path.iterdir())
    assert len(entries) == len(clips)
    for path in entries:
        np.savez(path, row=np.full(first.shape[1], 7, np.float32))
    copies = [path.read_bytes() for path in clips]
    assert (extract_table(copies, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False) == 7).all(axis=None)
    assert not (extract_table(clips, ["energy"], n_jobs=1, cache_dir=tmp_path, progress=False) == 7).any(axis=None)
    np.testing.assert_array_equal(extract_table(clips, ["zcr"], n_jobs=1, progress=False), first)


def test_what_is_in_the_cache_is_found_without_decoding_a_file(clips, tmp_path, monkeypatch):
    first = extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)

    def decoded(source):
        raise AssertionError(f"{source} was decoded")

    # By whatever process: the function itself is sent there, and not its name.
    monkeypatch.setattr("ser_hf.feature_table._row", lambda source, groups, cache: decoded(source))
    monkeypatch.setattr("ser_hf.feature_cache.load_audio", decoded)
    again = extract_table([{"path": str(path), "bytes": None} for path in clips], ["zcr"], 2, tmp_path, progress=False)
    np.testing.assert_array_equal(again, first)


def test_samples_without_a_file_are_kept_too(tmp_path):
    clip = make_clip("calm")
    for source in (clip, clip.copy(), {"array": clip, "sampling_rate": SAMPLE_RATE}):
        extract_table([source], ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    extract_table([clip / 2], ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_cached_row_that_does_not_fit_is_computed_again(clips, tmp_path):
    expected = extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    for path in tmp_path.iterdir():
        np.savez(path, row=np.zeros(3, np.float32))
    again = extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    np.testing.assert_array_equal(again, expected)


def test_cached_rows_of_another_version_are_not_used(clips, tmp_path, monkeypatch):
    extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    monkeypatch.setattr("ser_hf.feature_table.FEATURES_VERSION", FEATURES_VERSION + 1)
    extract_table(clips, ["zcr"], n_jobs=1, cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2 * len(clips)


@pytest.mark.parametrize("is_kept", [True, False])
def test_unreadable_recording_is_named(clips, tmp_path, is_kept):
    broken = tmp_path / "broken.wav"
    cache = tmp_path / "cache" if is_kept else None
    with pytest.raises(UnreadableAudioError, match=r"broken\.wav: there is no such file"):
        extract_table([*clips, broken], ["zcr"], n_jobs=2, cache_dir=cache, progress=False)
    broken.write_text("not a sound")
    with pytest.raises(UnreadableAudioError, match=r"broken\.wav: not an audio file"):
        extract_table([*clips, broken], ["zcr"], n_jobs=2, cache_dir=cache, progress=False)


def test_cache_is_where_the_table_puts_it(clips, tmp_path):
    table = extract_table(clips[:1], ["zcr"], n_jobs=1, cache_dir=tmp_path / "new", progress=False)
    assert len(list((tmp_path / "new").iterdir())) == 1
    assert FeatureCache(tmp_path / "new").read(make_clip("angry")) is None  # other settings
    assert table.shape[0] == 1


def test_egemaps_are_kept_in_the_cache(clips, tmp_path):
    pytest.importorskip("opensmile", reason="needs opensmile (pip install -r requirements-egemaps.txt)")
    first = extract_table(clips, ["egemaps"], n_jobs=1, cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == len(clips)
    for path in tmp_path.iterdir():
        np.savez(path, row=np.full(88, 7, np.float32))
    again = extract_table(clips, ["egemaps"], n_jobs=1, cache_dir=tmp_path, progress=False)
    assert (again == 7).all(axis=None)
    assert not (first == 7).all(axis=None)


def test_real_voices_of_men_lie_below_those_of_women(real_data):
    medians = {}
    for actor in ("01", "02"):
        folder = real_data / "ravdess" / f"Actor_{actor}"
        paths = sorted(path for path in folder.iterdir() if path.name.startswith("03-01-01"))
        table = extract_table(paths, ["pitch"], n_jobs=1, progress=False)
        assert (table["voiced_fraction"] > 0.2).all()
        medians[actor] = table["pitch_p50"].median()
    assert medians["01"] < medians["02"] - 4  # semitones
