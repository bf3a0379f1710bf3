"""The card's metadata as the Hub specifies and reads it."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from ser_hf.hub.card import add_evaluation, write_card
from tests.card.folders import neural_run
from tests.card.reading import published

# https://github.com/huggingface/hub-docs/blob/main/modelcard.md and docs/hub/model-cards.md: key -> type, and whether a
# list of it may be there instead. A key in capitals stands for any key.
SCHEMA = {
    "language": str,
    "license": str,
    "library_name": str,
    "tags": [str],
    "datasets": [str],
    "metrics": [str],
    "base_model": str,
    "base_model_relation": str,
    "pipeline_tag": str,
    "widget": [{"src": str, "example_title": str, "output": [{"label": str, "score": float}]}],
    "model-index": [
        {
            "name": str,
            "results": [
                {
                    "task": {"type": str, "name": str},
                    "dataset": {"type": str, "name": str, "config": str, "split": str},
                    "metrics": [{"type": str, "value": float, "name": str, "args": {"ANY": (str, int)}}],
                    "source": {"name": str, "url": str},
                }
            ],
        }
    ],
}


def check_schema(value, schema, place="") -> None:
    if isinstance(schema, dict):
        assert isinstance(value, dict), place
        for key, one in value.items():
            assert key in schema or "ANY" in schema, f"{place}.{key} is in no specification"
            check_schema(one, schema.get(key, schema.get("ANY")), f"{place}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), place
        assert value, f"{place} is empty"
        for one in value:
            check_schema(one, schema[0], f"{place}[]")
    else:
        assert isinstance(value, schema), f"{place} is {value!r}"


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_metadata_is_what_the_hub_specifies(kind, request):
    data = yaml.safe_load(published(request.getfixturevalue(kind)).content.split("---\n")[1])
    check_schema(data, SCHEMA)
    assert data["license"] == "cc-by-nc-sa-4.0"
    assert data["pipeline_tag"] == "audio-classification"
    assert data["datasets"] == ["alice/ravdess-folds"]
    if kind == "neural":
        assert (data["base_model"], data["base_model_relation"]) == ("openai/whisper-base", "finetune")
        assert data["widget"][0]["src"].endswith("alice/ser-tiny/resolve/main/example.flac")
        assert data["widget"][0]["output"][0] == {"label": "sad", "score": 0.86}
    else:
        assert not {"base_model", "base_model_relation", "widget"} & set(data)
        assert data["library_name"] == "sklearn"


def test_results_survive_the_hubs_own_reader(neural):
    results = published(neural).data.eval_results
    assert all(isinstance(result, EvalResult) for result in results)
    assert [(result.dataset_config, result.metric_type) for result in results] == [
        (protocol, kind) for protocol in ("actor", "random") for kind in ("accuracy", "recall", "f1", "ece")
    ]
    metrics = json.loads((neural / "metrics.json").read_text())
    keys = ("fold_mean_accuracy", "balanced_accuracy", "macro_f1", "ece")
    assert [result.metric_value for result in results[:4]] == [round(metrics[key], 4) for key in keys]
    for result in results[4:]:
        assert "speaker-dependent" in result.dataset_name
        assert "speaker-dependent" in result.metric_name
    assert not any("speaker-dependent" in result.dataset_name + result.metric_name for result in results[:4])


def test_two_runs_of_one_protocol_stay_two_results(neural, tmp_path):
    folder = shutil.copytree(neural, tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "whisper-actor-seed7", "actor", seed=7))
    results = ModelCard.load(write_card(folder, "ser-tiny")).data.eval_results
    assert len({(result.dataset_config, result.metric_type) for result in results}) == len(results) == 12
