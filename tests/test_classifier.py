import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, AudioError, SilenceError, load_audio, speech_span, trim_silence
from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.classical import load_classical
from tests.synthetic import make_clip
from tests.tiny_models import WINDOW_SECONDS, save_tiny_svm, save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny-whisper")


@pytest.fixture(scope="module")
def classifier(model_folder: Path) -> EmotionClassifier:
    return EmotionClassifier.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def svm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_svm(tmp_path_factory.mktemp("models") / "tiny-svm")


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def test_prediction_has_every_label_and_a_json_row(classifier):
    clip = make_clip("happy")
    prediction = classifier.predict(clip)
    assert tuple(prediction.scores) == LABELS
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.label == max(prediction.scores, key=prediction.scores.get)
    assert prediction.duration == 3.0
    span = tuple(place / SAMPLE_RATE for place in speech_span(clip))
    assert [(segment.start, segment.end) for segment in prediction.timeline] == [span]
    assert prediction.distance is None  # this model has none
    assert all("confidence" in warning for warning in prediction.warnings)
    row = json.loads(json.dumps(prediction.to_dict()))
    assert set(row) == {"file", "label", "confident", "distance", "scores", "duration", "warnings", "timeline"}
    assert all(round(score, 6) == score for score in row["scores"].values())
    assert row["timeline"][0]["scores"] == row["scores"]


@pytest.mark.parametrize("emotion", ["angry", "calm"])
def test_predict_gives_the_stock_pipelines_scores(classifier, model_folder, emotion):
    from transformers import pipeline

    clip = make_clip(emotion, seconds=4.5)
    stock = pipeline("audio-classification", model=str(model_folder))(trim_silence(load_audio(clip)).copy(), top_k=None)
    ours = classifier.predict(clip).scores
    assert ours == pytest.approx({answer["label"]: answer["score"] for answer in stock}, abs=1e-5)


def test_predict_trims_silence_around_a_clip(classifier):
    voice = make_clip("happy")
    padded = np.concatenate([silence(8), voice, silence(9)])
    prediction = classifier.predict(padded)
    (segment,) = prediction.timeline
    assert 8 <= segment.start < segment.end <= 11
    assert prediction.duration == 20
    window = load_audio(padded)[round(segment.start * SAMPLE_RATE) : round(segment.end * SAMPLE_RATE)]
    assert list(prediction.scores.values()) == pytest.approx(classifier.probabilities([window])[0])


def test_predict_averages_windows_of_a_long_recording(model_folder):
    classifier = EmotionClassifier.from_pretrained(model_folder, hop_seconds=WINDOW_SECONDS / 2)
    prediction = classifier.predict(np.concatenate([make_clip(emotion) for emotion in LABELS]))
    assert len(prediction.timeline) > 5
    for label in LABELS:
        mean = np.mean([segment.scores[label] for segment in prediction.timeline])
        assert prediction.scores[label] == pytest.approx(mean)
    lengths = [segment.end - segment.start for segment in prediction.timeline]
    assert lengths == pytest.approx([WINDOW_SECONDS] * len(lengths))
    steps = np.diff([segment.start for segment in prediction.timeline])
    assert steps[:-1] == pytest.approx(WINDOW_SECONDS / 2)
    assert 0 < steps[-1] <= WINDOW_SECONDS / 2 + 1e-9
    assert any("windows" in warning for warning in prediction.warnings)
    with pytest.raises(ModelError, match="windows"):
        EmotionClassifier.from_pretrained(model_folder, hop_seconds=WINDOW_SECONDS + 1)


def test_predict_gives_each_utterance_its_scores(classifier):
    """One of them is longer than the window; each has what it has alone."""
    long = np.tile(make_clip("angry", seconds=4)[SAMPLE_RATE : 2 * SAMPLE_RATE], 10)
    voices = [make_clip("happy"), np.concatenate([silence(1), long, silence(1)]), make_clip("happy", 2)]
    prediction = classifier.predict(np.concatenate(voices))
    assert len(prediction.timeline) == 3
    alone = [classifier.predict(voice) for voice in voices]
    offsets = np.cumsum([0, *(len(voice) for voice in voices[:2])]) / SAMPLE_RATE
    for segment, one, offset in zip(prediction.timeline, alone, offsets, strict=True):
        assert segment.start == pytest.approx(offset + one.timeline[0].start, abs=0.05)
        assert segment.end == pytest.approx(offset + one.timeline[-1].end, abs=0.05)
        assert segment.scores == pytest.approx(one.scores, abs=0.1)
    assert any("utterances" in warning for warning in prediction.warnings)


def test_classical_model_has_the_same_interface(svm_folder):
    classifier = EmotionClassifier.from_pretrained(svm_folder)
    clip = make_clip("angry", actor=3)
    prediction = classifier.predict(clip)
    assert classifier.name == "tiny-svm"
    assert tuple(prediction.scores) == tuple(classifier.labels) == LABELS
    expected = load_classical(svm_folder).predict_proba([trim_silence(load_audio(clip))])[0]
    assert list(prediction.scores.values()) == pytest.approx(expected)
    long = classifier.predict(np.concatenate([clip] * 4))
    assert len(long.timeline) > 1


class Happy:
    """Predicts "happy" with 0.55 for any clip."""

    labels = LABELS

    def predict_proba(self, clips):
        rest = (1 - 0.55) / (len(LABELS) - 1)
        return np.tile([0.55 if label == "happy" else rest for label in LABELS], (len(clips), 1))


@pytest.mark.parametrize(
    ("threshold", "warning"),
    [(0.5499, None), (0.5501, "happy, 55.00 % (threshold 55.01 %)"), (0.9, "happy, 55 % (threshold 90 %)")],
)
def test_prediction_below_the_threshold_is_not_confident(threshold, warning):
    classifier = EmotionClassifier(Happy(), "half", 5.0, answer_threshold=threshold)
    prediction = classifier.predict(make_clip("happy"))
    assert prediction.label == "happy"
    assert prediction.confident == prediction.to_dict()["confident"] == (warning is None)
    found = [one for one in prediction.warnings if "low confidence" in one]
    assert len(found) == (warning is not None)
    assert all(one.endswith(warning) for one in found)


class Elsewhere(Happy):
    """As confident, with out-of-domain scores."""

    familiarity = True

    def __init__(self, *distances: float) -> None:
        self.distances = np.array(distances)

    def predict_with_distance(self, clips):
        return self.predict_proba(clips), np.resize(self.distances, len(clips))


@pytest.mark.parametrize(
    ("distance", "words", "confident"),
    [(0.0, None, True), (1.0, None, True), (1.01, "out of domain", True), (1.51, "hardly a voice", False)],
)
def test_out_of_domain_recording_gets_a_warning(distance, words, confident):
    prediction = EmotionClassifier(Elsewhere(distance), "elsewhere", 5.0).predict(make_clip("happy"))
    assert prediction.distance == pytest.approx(distance)
    assert prediction.to_dict()["distance"] == pytest.approx(distance)
    assert prediction.confident is confident
    found = [warning for warning in prediction.warnings if "out of domain" in warning]
    assert [words in warning for warning in found] == ([True] if words else [])


def test_distance_is_averaged_over_windows():
    long = np.tile(make_clip("happy"), 4)
    classifier = EmotionClassifier(Elsewhere(0.5, 1.5), "elsewhere", 2.0)
    prediction = classifier.predict(long)
    n = len(prediction.timeline)
    assert n > 3
    assert prediction.distance == pytest.approx(np.resize([0.5, 1.5], n).mean())
    many = list(classifier.predict_many([long, make_clip("sad", seconds=1.5)], batch_size=64))
    assert many[0].distance == pytest.approx(prediction.distance)
    assert many[1].distance == pytest.approx([0.5, 1.5][n % 2])


def test_threshold_is_that_of_the_model_folder(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert EmotionClassifier.from_pretrained(folder).answer_threshold == 0.5
    (folder / "config.json").write_text(json.dumps(config | {"answer_threshold": 0.625}))
    assert EmotionClassifier.from_pretrained(folder).answer_threshold == 0.625
    for nonsense in (1.5, -0.1, "0.5", True, None):
        (folder / "config.json").write_text(json.dumps(config | {"answer_threshold": nonsense}))
        with pytest.raises(ModelError, match=r"answer_threshold in its config\.json is"):
            EmotionClassifier.from_pretrained(folder)


def test_labels_are_in_our_order():
    class Shuffled:
        labels = ("surprised", "boredom", "neutral", "angry")

        def predict_proba(self, clips):
            return np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (len(clips), 1))

    classifier = EmotionClassifier(Shuffled(), "shuffled", 5.0)
    prediction = classifier.predict(make_clip("happy"))
    assert classifier.labels == ["neutral", "angry", "surprised", "boredom"]
    assert prediction.scores == pytest.approx({"neutral": 0.3, "angry": 0.4, "surprised": 0.1, "boredom": 0.2})
    assert prediction.label == "angry"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (make_clip("happy") / np.abs(make_clip("happy")).max() * 0.006, "very quiet"),
        (np.clip(make_clip("angry") * 30, -1, 1), "clipped"),
    ],
)
def test_warnings_are_of_the_file_and_of_the_voice(classifier, samples, words):
    assert any(words in warning for warning in classifier.predict(samples).warnings)


def test_predict_many_keeps_order_and_errors(classifier, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("this is no sound")
    long = np.concatenate([make_clip(emotion) for emotion in LABELS])
    sources = [make_clip("happy"), bad, long, silence(2), make_clip("angry", seconds=4)]
    for batch_size in (1, 3, 16):
        answers = list(classifier.predict_many(iter(sources), batch_size=batch_size))
        assert len(answers) == len(sources)
        assert isinstance(answers[1], AudioError)
        assert "bad.wav" in str(answers[1])
        assert isinstance(answers[3], SilenceError)
        for index in (0, 2, 4):
            assert answers[index].scores == pytest.approx(classifier.predict(sources[index]).scores, abs=1e-5)


def test_predict_many_reads_one_batch_at_a_time(classifier):
    read = []

    def sources():
        for number in range(100):
            read.append(number)
            yield make_clip("happy", seconds=1)

    next(classifier.predict_many(sources(), batch_size=4))
    assert len(read) == 4


def test_absent_folder_is_never_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: pytest.fail("asked the Hub"))
    (tmp_path / "mine").mkdir()
    names = ["models/nothing", "mine/nothing", "./some/model", "/some/model", "~/model", "a/b/c", "model", Path("a/b")]
    for name in names:
        with pytest.raises(ModelError, match="no model folder"):
            EmotionClassifier.from_pretrained(name)


@pytest.mark.parametrize("content", [None, "{", "[]"], ids=["absent", "broken", "no mapping"])
def test_folder_without_a_good_config_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        EmotionClassifier.from_pretrained(tmp_path)


def test_metrics_are_read_where_they_can_be(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    assert EmotionClassifier.from_pretrained(folder).metrics is None
    (folder / "metrics.json").write_text('{"accuracy": 0.5}')
    assert EmotionClassifier.from_pretrained(folder).metrics == {"accuracy": 0.5}
    for damaged in ("[]", "{", "\xff"):
        (folder / "metrics.json").write_text(damaged, encoding="latin-1")
        assert EmotionClassifier.from_pretrained(folder).metrics is None


def test_long_recording_is_predicted_in_batches(monkeypatch):
    """All at once, ten minutes take gigabytes."""
    sizes = []

    class Counting:
        labels = LABELS

        def predict_proba(self, clips):
            sizes.append(len(clips))
            return np.full((len(clips), len(LABELS)), 1 / len(LABELS))

    prediction = EmotionClassifier(Counting(), "counting", 4.0).predict(np.tile(make_clip("happy"), 40))
    assert sum(sizes) == len(prediction.timeline) > BATCH_SIZE
    assert max(sizes) == BATCH_SIZE
