"""The model card: ``model_card.md`` filled with what the files of a model folder say, and with nothing else."""

from __future__ import annotations

import math
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

from ser_hf.classifier import CLASSICAL_MODEL_TYPE, CLASSICAL_WINDOW_SECONDS
from ser_hf.evaluation import markdown
from ser_hf.hub import looks_like_folder, split_revision, trained_on
from ser_hf.hub.card_arguments import card_arguments
from ser_hf.hub.evaluation import CardError, Evaluation, words
from ser_hf.hub.evidence import WEIGHTS, read_config, read_evaluations, read_json
from ser_hf.labels import GENDER_NAMES, LABELS, in_order
from ser_hf.models.familiarity import FILE as FAMILIARITY

TEMPLATE = Path(__file__).resolve().parents[2] / "model_card.md"
HUB = "https://huggingface.co"
NO_LANGUAGE = "zxx"  # BCP 47: without words
DEFAULT_WINDOW_SECONDS = 5.0  # of models without one of their own, see ser_hf.models.neural
FIGURES = {
    "fold_mean_accuracy": "accuracy, mean over folds",
    "accuracy": "accuracy, all clips",
    "balanced_accuracy": "balanced accuracy (UAR)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE, 15 bins)",
    "nll": "negative log-likelihood",
}
# Type on the Hub -> figure, and what the figure was computed with.
HUB_METRICS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "accuracy": ("accuracy", None),
    "recall": ("balanced_accuracy", {"average": "macro"}),
    "f1": ("macro_f1", {"average": "macro"}),
    "ece": ("ece", {"bins": 15}),
}


def write_card(
    model_folder: str | Path,
    name: str,
    hub_id: str | None = None,
    baseline_id: str | None = None,
    dataset_id: str | None = None,
) -> Path:
    """Write ``README.md`` of a model folder from its other files, of which the evidence must be there.

    Args:
        model_folder: with ``config.json`` and ``evaluation/`` (see `add_evaluation`); ``example.json`` and the weights
            are used if they are there.
        name: what the model is called.
        hub_id: ``user/name`` under which it is published; without, the examples name a local folder.
        baseline_id, dataset_id: repositories on the Hub to link to.

    Returns:
        The path of the card. The same files and arguments give the same card, byte for byte.

    Raises:
        CardError: there is no evidence, or it cannot be that of this model.
    """
    from ser_hf.corpora import CORPORA, corpus_facts  # datasets, which the page that imports this module does not need

    model_folder = Path(model_folder)
    config = read_config(model_folder)
    sections = read_evaluations(model_folder)
    recipe = next((section for section in sections if not section.tested_finished_model), None)
    trained = trained_on(model_folder) or (recipe.trained_on if recipe else [])
    facts = {
        **_model_facts(model_folder, config, recipe),
        "FIGURES": FIGURES,
        "GENDER_NAMES": GENDER_NAMES,
        "title": name,
        "hub": HUB,
        "hub_id": hub_id,
        "where": hub_id or f"path/to/{name}",
        "baseline_id": baseline_id,
        "dataset_id": dataset_id,
        "is_final": recipe is None or not recipe.run.get("tests_this_model"),
        "headline": sections[0],
        "others": sections[1:],
        "recipe": recipe,
        "protocols": {section.protocol for section in sections},
        "trained_on": trained,
        "is_ravdess": trained == ["ravdess"],
        "corpora": [corpus_facts(name) for name in trained if name in CORPORA],
        "measured_trained_on": recipe.trained_on if recipe else [],
        "example": _example(model_folder),
        "arguments": card_arguments(recipe) if recipe else [],
        "is_own": recipe is not None and bool(recipe.arguments.get("dataset")),
        "is_head": recipe is not None and recipe.arguments.get("features") == "embeddings",
        "probe": recipe is not None and recipe.arguments.get("num_train_epochs") == 0,
    }
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = partial(markdown.percent, missing="–")
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(facts)
    path = model_folder / "README.md"
    ModelCard(f"---\n{_metadata(facts, sections).to_yaml()}\n---\n\n{body.strip()}\n").save(path)
    return path


def _metadata(facts: dict[str, Any], sections: list[Evaluation]) -> ModelCardData:
    """The head of the card, which the Hub reads, after its specification (hub-docs, modelcard.md)."""
    languages = sorted({corpus.language.split("-")[0] for corpus in facts["corpora"]} - {NO_LANGUAGE})
    share_alike = any(corpus.licence.startswith("CC-BY-NC-SA") for corpus in facts["corpora"])
    widget = None
    if facts["hub_id"] and facts["neural"] and facts["example"]:
        output = [{"label": label, "score": round(score, 4)} for label, score in facts["example"]]
        source = f"{HUB}/{facts['hub_id']}/resolve/main/example.flac"
        widget = [{"example_title": "A synthetic voice", "src": source, "output": output}]
    return ModelCardData(
        language=languages[0] if len(languages) == 1 else languages or None,
        license="cc-by-nc-sa-4.0" if share_alike else None,
        library_name="transformers" if facts["neural"] else "sklearn",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "speech-emotion-recognition", "emotion", *facts["trained_on"]],
        base_model=facts["base_model"],
        base_model_relation="finetune" if facts["base_model"] else None,
        datasets=[facts["dataset_id"]] if facts["dataset_id"] else None,
        metrics=["accuracy", "recall", "f1"],
        model_name=facts["title"],
        eval_results=[result for section in sections for result in _eval_results(section, facts["hub_id"], sections)],
        widget=widget,
    )


def _eval_results(section: Evaluation, hub_id: str | None, sections: list[Evaluation]) -> list[EvalResult]:
    # The Hub's client takes results for the same as soon as task, dataset, config and split are.
    is_only_one = [other.protocol for other in sections].count(section.protocol) == 1
    source = f"{HUB}/{hub_id}/tree/main/{section.folder}" if hub_id else None
    results = []
    for kind, (key, options) in HUB_METRICS.items():
        key = section.headline_key if key == "accuracy" else key
        results.append(
            EvalResult(
                task_type="audio-classification",
                task_name="Speech emotion recognition",
                dataset_type="+".join(section.corpora),
                dataset_name=section.dataset_name,
                dataset_config=section.protocol if is_only_one else section.name,
                dataset_split="test",
                metric_type=kind,
                metric_name=FIGURES[key] + ("" if section.speaker_independent else ", speaker-dependent"),
                metric_value=round(section.metrics[key], 4),
                metric_args=options,
                source_name=section.name if source else None,
                source_url=source,
            )
        )
    return results


def _model_facts(model_folder: Path, config: dict[str, Any], recipe: Evaluation | None) -> dict[str, Any]:
    """What kind of model it is: of its configuration, its weights and the run of its recipe."""
    neural = config["model_type"] != CLASSICAL_MODEL_TYPE
    base_model = recipe.arguments.get("base_model") if neural and recipe else None
    if base_model is not None and looks_like_folder(base_model):
        base_model = None
    window, is_cut = _window(model_folder, config) if neural else (CLASSICAL_WINDOW_SECONDS, False)
    temperature = config.get("temperature")
    if neural:
        found = recipe.temperatures if recipe else []
        temperature = statistics.geometric_mean(found) if found else None
    return {
        "neural": neural,
        "is_whisper": config["model_type"] == "whisper",
        "family": config.get("family", config["model_type"]),
        "feature_groups": config.get("feature_groups", []),
        "parameters": words(config.get("parameters", {})),
        "cross_validation_accuracy": config.get("cross_validation_accuracy"),
        "layers": config.get("encoder_layers", config.get("num_hidden_layers", 0)),
        "labels": in_order(config.get("id2label", dict(enumerate(LABELS))).values()),
        "base_model": base_model and split_revision(base_model)[0],
        "n_parameters": _count_parameters(model_folder / WEIGHTS),
        "window": window,
        "is_cut": is_cut,
        "temperature": temperature,
        "threshold": config.get("answer_threshold"),
        "has_code": "auto_map" in config,
        "knows_familiar": (model_folder / FAMILIARITY).is_file(),
    }


def _window(model_folder: Path, config: dict[str, Any]) -> tuple[float, bool]:
    """The window of a transformer in seconds, and whether the stock pipeline truncates a clip there."""
    path = model_folder / "preprocessor_config.json"
    extractor = read_json(path) if path.is_file() else {}
    if "chunk_length" in extractor:
        return extractor["chunk_length"], True
    if "max_length" in extractor:  # frames of 10 ms
        return extractor["max_length"] / 100, True
    return config.get("window_seconds", DEFAULT_WINDOW_SECONDS), False


def _count_parameters(weights: Path) -> str | None:
    """The number of weights in words, from the head of the file; None where there is no such file."""
    if not weights.is_file():
        return None
    with safe_open(weights, framework="numpy") as tensors:
        count = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count:,}"


def _example(model_folder: Path) -> list[tuple[str, float]] | None:
    """What the model predicts for ``example.flac``, the likeliest first; None where either file is missing."""
    if not all((model_folder / name).is_file() for name in ("example.flac", "example.json")):
        return None
    scores = read_json(model_folder / "example.json").get("scores")
    if not isinstance(scores, dict):
        raise CardError(f"{model_folder / 'example.json'} does not hold a label and scores; write it again")
    return sorted(scores.items(), key=lambda pair: -pair[1])
