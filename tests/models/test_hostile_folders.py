"""Forged and damaged model folders: refused with an error that names the folder; nothing is run or downloaded."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.models import ModelError, output_labels
from ser_hf.models.building import create_model
from ser_hf.models.neural import save_neural, torch_device
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_svm, save_tiny_whisper

WEIGHTS, INDEX, PREPROCESSOR = "model.safetensors", "model.safetensors.index.json", "preprocessor_config.json"
RAN = Path("ran")  # in the working folder of a test: what forged code and pickles create


class Pickled:
    """Creates `RAN` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, (str(RAN),)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def connections(monkeypatch) -> list[object]:
    """Every address that is looked up or connected to; none of them answers."""
    addresses: list[object] = []

    def refuse(*arguments, **options):
        addresses.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return addresses


def config(file: str = "config.json", code: bool = False, **values: object) -> Callable[[Path], None]:
    """Other settings in a JSON file and, if wanted, code beside it."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        if code:
            create = f"from pathlib import Path\nPath({str(RAN)!r}).touch()\n"
            (folder / "forged.py").write_text(create + "from transformers import WhisperConfig as Config\n")

    return change


def weight(name: str, value: torch.Tensor | float | None) -> Callable[[Path], None]:
    """Other weights, fewer (None) or, by their first value, other numbers."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        if value is None:
            del tensors[name]
        elif isinstance(value, float):
            tensors[name][0] = value
        else:
            tensors[name] = value
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return change


def pickled(file: str, index: bool = False) -> Callable[[Path], None]:
    """A pickle in place of a file or, with an index, of all weights."""

    def change(folder: Path) -> None:
        if index:
            (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(load_file(folder / WEIGHTS), file)}))
            (folder / WEIGHTS).unlink()
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(pickle.dumps(Pickled()))

    return change


def pickled_weights(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def cut(file: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size - 20)


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "forged/base"}))


NUMBERED = {str(index): label for index, label in enumerate(LABELS)}
UNNAMED = {str(index): f"LABEL_{index}" for index in range(8)}
FORGED_EXTRACTOR = {"auto_map": {"AutoFeatureExtractor": "forged.Config"}, "feature_extractor_type": "Forged"}
DAMAGES = {
    "code": config(code=True, model_type="forged", auto_map={"AutoConfig": "forged.Config"}),
    "code of the extractor": config(PREPROCESSOR, code=True, **FORGED_EXTRACTOR),
    "code on the Hub": config(model_type="forged", auto_map={"AutoConfig": "forged/base--forged.Config"}),
    "attention kernel on the Hub": config(attn_implementation="forged/kernel"),
    "adapter to a model on the Hub": adapter,
    "pickle named safetensors": pickled(WEIGHTS),
    "pickle in an index": pickled("weights.bin", index=True),
    "pickle of another folder": pickled("../other/model.safetensors", index=True),
    "pickle as out-of-domain statistics": pickled("familiarity.safetensors"),
    "pickle of the weights": pickled_weights,
    "swapped labels": config(id2label=dict(zip(NUMBERED, LABELS[::-1], strict=True))),
    "duplicate label": config(id2label=NUMBERED | {"0": "sad"}),
    "numbers as labels": config(id2label={name: int(name) for name in NUMBERED}),
    "list of labels": config(id2label=list(LABELS)),
    "unnamed labels": config(id2label=UNNAMED, label2id={name: int(index) for index, name in UNNAMED.items()}),
    "fewer labels": config(id2label=dict(list(NUMBERED.items())[:6])),
    "no head": weight("classifier.weight", None),
    "encoder alone": lambda folder: save_tiny_base("whisper", folder),
    "more weights": weight("classifier.dense.weight", torch.zeros(8, 16)),
    "NaN weight": weight("classifier.bias", float("nan")),
    "infinite weight": weight("projector.bias", float("inf")),
    "quantisation": config(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "invalid quantisation": config(quantization_config="forged"),
    "text as number of layers": config(encoder_layers="two"),
    "negative dimension": config(d_model=-1),
    "number as model type": config(model_type=7),
    "truncated config": cut("config.json"),
    "truncated extractor": cut(PREPROCESSOR),
    "unknown extractor": config(PREPROCESSOR, feature_extractor_type="Forged"),
    "no extractor": lambda folder: (folder / PREPROCESSOR).unlink(),
    "regression": config(problem_type="regression"),
    "several labels at once": config(problem_type="multi_label_classification"),
    "other sampling rate": config(PREPROCESSOR, sampling_rate=8000),
    "shorter window than its positions": config(PREPROCESSOR, chunk_length=4),
    "other number of mel bands": config(PREPROCESSOR, feature_size=64),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "truncated weights": cut(WEIGHTS),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_forged_folder_is_refused(damage, folder, connections):
    DAMAGES[damage](folder)
    with pytest.raises(ModelError) as caught:
        EmotionClassifier.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    assert not RAN.exists()
    assert connections == []


def test_code_beside_a_known_model_is_not_run(folder):
    config(code=True, auto_map={"AutoConfig": "forged.Config"})(folder)
    assert EmotionClassifier.from_pretrained(folder).labels == list(LABELS)
    assert not RAN.exists()


@pytest.mark.parametrize("save", [save_tiny_whisper, save_tiny_svm])
def test_local_folder_predicts_without_network(save, tmp_path, connections):
    classifier = EmotionClassifier.from_pretrained(save(tmp_path / "model"))
    assert classifier.predict(make_clip("happy")).label in LABELS
    assert connections == []


def test_hub_id_is_downloaded(tmp_path, monkeypatch, connections):
    """So that the tests above can fail."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="forged/base"):
        EmotionClassifier.from_pretrained("forged/base")
    assert connections


def test_safetensors_shards_load(folder):
    shard = "model-00001-of-00001.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / WEIGHTS), shard)}
    (folder / WEIGHTS).rename(folder / shard)
    (folder / INDEX).write_text(json.dumps(index))
    assert EmotionClassifier.from_pretrained(folder).labels == list(LABELS)


def test_output_labels_take_text_and_default_names():
    labels = {0: "sad", 1: "happy"}
    assert output_labels(labels, {"sad": "0", "happy": 1}, "model") == ["sad", "happy"]
    assert output_labels(labels, {"LABEL_0": 0, "LABEL_1": 1}, "model") == ["sad", "happy"]


@pytest.mark.parametrize("setting", ["max_length", "chunk_length"])
def test_unused_extractor_settings_are_no_window(setting, tmp_path):
    """wav2vec2's extractor ignores them."""
    folder = save_neural(*create_model(save_tiny_base("wav2vec2", tmp_path / "base")), tmp_path / "model")
    expected = EmotionClassifier.from_pretrained(folder)
    config(PREPROCESSOR, **{setting: 160_000})(folder)
    found = EmotionClassifier.from_pretrained(folder)
    assert found.window_seconds == expected.window_seconds == 5.0
    assert found.predict(make_clip("happy")).scores == expected.predict(make_clip("happy")).scores


@pytest.mark.parametrize("device", [0, "cuda:7", "gpu", "mps", "meta", "xpu"])
def test_absent_device_is_refused(device, folder, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(ModelError, match=f"'{device}'"):
        EmotionClassifier.from_pretrained(folder, device=device)
    with pytest.raises(ModelError, match=f"'{device}'"):
        EmotionClassifier.from_pretrained(save_tiny_svm(folder.parent / "svm"), device=device)


def test_device_is_found_by_name_and_number(monkeypatch):
    for device in (None, -1, "cpu", torch.device("cpu")):
        assert torch_device(device) == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for device, expected in (("auto", "cuda:0"), (1, "cuda:1"), ("1", "cuda:1"), ("cuda", "cuda"), ("cpu", "cpu")):
        assert torch_device(device) == torch.device(expected)
    with pytest.raises(ModelError, match="cuda:1"):
        torch_device("cuda:2")
