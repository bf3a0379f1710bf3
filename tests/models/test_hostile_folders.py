"""Folders of neural models that somebody forged: refused in words, nothing run and nothing fetched."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.models import ModelError, output_labels
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm, save_tiny_whisper

CODE = "from pathlib import Path\nPath({mark!r}).touch()\nfrom transformers import WhisperConfig as Config\n"


class Run:
    """What a pickle does to who loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def asked(monkeypatch) -> list[object]:
    """Every address that is looked up or connected to; none of them answers."""
    addresses: list[object] = []

    def refuse(*arguments, **options):
        addresses.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return addresses


def changed(file: str = "config.json", **values: object) -> Callable[[Path, Path], None]:
    """Other settings in a file of JSON."""

    def change(folder: Path, mark: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def weights(name: str, value: float) -> Callable[[Path, Path], None]:
    def change(folder: Path, mark: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        tensors[name][0] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def shards(name: str) -> Callable[[Path, Path], None]:
    """An index that says that all weights are in a file of this name, where there is a pickle."""

    def change(folder: Path, mark: Path) -> None:
        names = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Run(mark)))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, name)}))

    return change


def pickled(file: str) -> Callable[[Path, Path], None]:
    return lambda folder, mark: (folder / file).write_bytes(pickle.dumps(Run(mark))) and None


def code(folder: Path, mark: Path) -> None:
    (folder / "forged.py").write_text(CODE.format(mark=str(mark)))
    changed(model_type="forged", auto_map={"AutoConfig": "forged.Config"})(folder, mark)


def code_of_the_extractor(folder: Path, mark: Path) -> None:
    (folder / "forged.py").write_text(CODE.format(mark=str(mark)))
    forged = {"auto_map": {"AutoFeatureExtractor": "forged.Config"}, "feature_extractor_type": "Forged"}
    changed("preprocessor_config.json", **forged)(folder, mark)


def adapter(folder: Path, mark: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "forged/base"}))


def cut(file: str) -> Callable[[Path, Path], None]:
    return lambda folder, mark: (folder / file).write_bytes((folder / file).read_bytes()[:-20]) and None


CANNOT = "cannot be loaded as an audio-classification model"
NUMBERED = {str(index): label for index, label in enumerate(LABELS)}
DAMAGES = {
    "code": (code, CANNOT),
    "code of the extractor": (code_of_the_extractor, CANNOT),
    "code of the Hub": (changed(model_type="forged", auto_map={"AutoConfig": "forged/base--forged.Config"}), CANNOT),
    "attention of the Hub": (changed(attn_implementation="forged/kernel"), "asks for code of the Hub"),
    "adapter to a model of the Hub": (adapter, "holds an adapter"),
    "pickle by the name of safetensors": (pickled("model.safetensors"), CANNOT),
    "pickle that an index names": (shards("weights.bin"), "no safetensors file in this folder"),
    "weights of another folder": (shards("../other/model.safetensors"), "no safetensors file in this folder"),
    "pickle of what is familiar": (pickled("familiarity.safetensors"), "familiarity"),
    "labels that are swapped": (changed(id2label=dict(zip(NUMBERED, LABELS[::-1], strict=True))), "disagree"),
    "label that is there twice": (changed(id2label=NUMBERED | {"0": "sad"}), "each a word of its own"),
    "labels that are numbers": (changed(id2label={name: int(name) for name in NUMBERED}), "each a word of its own"),
    "labels in a list": (changed(id2label=list(LABELS)), CANNOT),
    "weight that is NaN": (weights("classifier.bias", float("nan")), "NaN or infinite"),
    "infinite weight": (weights("projector.bias", float("inf")), "NaN or infinite"),
    "quantisation without its package": (
        changed(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        CANNOT,
    ),
    "quantisation that is none": (changed(quantization_config="forged"), CANNOT),
    "layers that are no number": (changed(encoder_layers="two"), CANNOT),
    "fewer than no dimensions": (changed(d_model=-1), CANNOT),
    "type that is no word": (changed(model_type=7), CANNOT),
    "config that is cut off": (cut("config.json"), "not valid JSON"),
    "extractor that is cut off": (cut("preprocessor_config.json"), CANNOT),
    "extractor that is none": (changed("preprocessor_config.json", feature_extractor_type="Forged"), CANNOT),
    "no extractor": (lambda folder, mark: (folder / "preprocessor_config.json").unlink(), CANNOT),
    "no weights": (lambda folder, mark: (folder / "model.safetensors").unlink(), CANNOT),
    "weights that are cut off": (cut("model.safetensors"), CANNOT),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_forged_folder_is_refused_in_words_runs_nothing_and_fetches_nothing(what, folder, tmp_path, asked):
    damage, message = DAMAGES[what]
    damage(folder, tmp_path / "ran")
    with pytest.raises(ModelError, match=message) as caught:
        EmotionClassifier.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert asked == []


def test_code_beside_a_model_that_is_known_is_not_run(folder, tmp_path, asked):
    code(folder, tmp_path / "ran")
    changed(model_type="whisper")(folder, tmp_path)
    assert EmotionClassifier.from_pretrained(folder).labels == list(LABELS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [save_tiny_whisper, save_tiny_svm])
def test_a_folder_is_loaded_and_answers_without_a_network(save, tmp_path, asked):
    classifier = EmotionClassifier.from_pretrained(save(tmp_path / "model"))
    assert classifier.predict(make_clip("happy")).label in LABELS
    assert asked == []


def test_a_hub_id_is_what_is_fetched(tmp_path, monkeypatch, asked):
    """So that the guard of the others is one."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="cannot get the model 'forged/base'"):
        EmotionClassifier.from_pretrained("forged/base")
    assert asked


def test_shards_of_safetensors_load(folder):
    named = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(named, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert EmotionClassifier.from_pretrained(folder).labels == list(LABELS)


def test_numbers_as_text_and_default_names_do_not_disagree():
    labels = {0: "sad", 1: "happy"}
    assert output_labels(labels, {"sad": "0", "happy": 1}, "model") == ["sad", "happy"]
    assert output_labels(labels, {"LABEL_0": 0, "LABEL_1": 1}, "model") == ["sad", "happy"]
