"""The metadata of a repository's card, and what the local Hub says of a card that it cannot take.

The rules are those of https://huggingface.co/docs/hub (model-cards, datasets-cards, spaces-config-reference), the words
like those of the Hub's own validator.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

SDKS = ("gradio", "streamlit", "docker", "static")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SHORT_DESCRIPTION_LENGTH = 60
# https://huggingface.co/docs/hub/repositories-licenses
LICENSES = (  # between spaces
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 "
    "bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc "
    "cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 "
    "cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 "
    "eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c "
    "ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa "
    "unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 "
    "llama3.2 llama3.3 llama4 gemma unknown other"
)
# https://huggingface.co/tasks
TASKS = (  # between spaces
    "text-classification token-classification table-question-answering question-answering "
    "zero-shot-classification translation summarization feature-extraction text-generation fill-mask "
    "sentence-similarity text-to-speech text-to-audio automatic-speech-recognition audio-to-audio "
    "audio-classification audio-text-to-text voice-activity-detection depth-estimation image-classification "
    "object-detection image-segmentation text-to-image image-to-text image-to-image image-to-video "
    "unconditional-image-generation video-classification reinforcement-learning robotics tabular-classification "
    "tabular-regression tabular-to-text table-to-text multiple-choice text-ranking text-retrieval "
    "time-series-forecasting text-to-video image-text-to-text visual-question-answering "
    "document-question-answering zero-shot-image-classification graph-ml mask-generation "
    "zero-shot-object-detection text-to-3d image-to-3d image-feature-extraction video-text-to-text "
    "keypoint-detection visual-document-retrieval any-to-any video-to-video other"
)
SIZES = (
    *("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"),
    *("10B<n<100B", "100B<n<1T", "n>1T"),
)
FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(\r?\n|\Z)", re.DOTALL)
REPO_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicated mapping key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def read_card(content: str) -> dict[str, Any]:
    """The metadata at the top of a card; empty without any.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """
    found = FRONT_MATTER.match(content)
    if not found:
        return {}
    try:
        data = yaml.load(found.group(1), _UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(f"Invalid YAML: {' '.join(str(error).split())}") from error
    if data is not None and not isinstance(data, dict):
        raise ValueError("YAML metadata must be a mapping")
    return data or {}


def check_card(content: str, repo_type: str) -> tuple[list[str], list[str]]:
    """What is wrong with a card, and what is odd: errors, for which the Hub refuses it, and warnings."""
    try:
        data = read_card(content)
    except ValueError as error:
        return [str(error)], []
    if not data and repo_type != "space":
        return [], ["empty or missing yaml metadata in repo card"]
    errors: list[str] = []
    warnings: list[str] = []
    _check_choice(data, "license", LICENSES.split(), errors)
    _check_list(data, "tags", errors)
    _check_list(data, "language", errors)
    for code in as_list(data.get("language")):
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)?|code|multilingual", str(code)):
            errors.append(f'"language" must be an ISO 639-1, 639-2 or 639-3 code, not "{code}"')
    if repo_type == "model":
        _check_model(data, errors, warnings)
    elif repo_type == "dataset":
        _check_dataset(data, errors, warnings)
    else:
        _check_space(data, errors)
    return errors, warnings


def _check_model(data: dict[str, Any], errors: list[str], warnings: list[str]) -> None:
    tag = data.get("pipeline_tag")
    if tag is not None and tag not in TASKS.split():
        warnings.append(f'The pipeline tag "{tag}" is not in the official list: {TASKS.replace(" ", ", ")}')
    for key in ("base_model", "datasets", "metrics"):
        _check_list(data, key, errors)
    for name in as_list(data.get("base_model")):
        if not REPO_NAME.fullmatch(str(name)):
            errors.append(f'"base_model" with value "{name}" is not valid. Use a model id from https://hf.co/models.')
    _check_choice(data, "base_model_relation", ("finetune", "quantized", "merge", "adapter"), errors)
    models = data.get("model-index")
    if models is None:
        return
    if not isinstance(models, list):
        errors.append('"model-index" must be an array')
        return
    for index, model in enumerate(models):
        where = f"model-index[{index}]"
        _require(model, where, {"name": str, "results": list}, errors)
        for number, result in enumerate(_field(model, "results", list)):
            there = f"{where}.results[{number}]"
            _require(result, there, {"task": dict, "metrics": list}, errors)
            _require(_field(result, "task", dict), f"{there}.task", {"type": str}, errors)
            if "dataset" in result:
                _require(_field(result, "dataset", dict), f"{there}.dataset", {"type": str, "name": str}, errors)
            for place, metric in enumerate(_field(result, "metrics", list)):
                _require(metric, f"{there}.metrics[{place}]", {"type": str, "value": object}, errors)
            if "source" in result:
                _require(_field(result, "source", dict), f"{there}.source", {"url": str}, errors)


def _check_dataset(data: dict[str, Any], errors: list[str], warnings: list[str]) -> None:
    for size in as_list(data.get("size_categories")):
        if size not in SIZES:
            errors.append(f'"size_categories" must be one of [{", ".join(SIZES)}]')
    for task in as_list(data.get("task_categories")):
        if task not in TASKS.split():
            warnings.append(f'The task_categories "{task}" is not in the official list: {TASKS.replace(" ", ", ")}')
    configs = data.get("configs", [])
    if not isinstance(configs, list):
        errors.append('"configs" must be an array')
        return
    for index, config in enumerate(configs):
        _require(config, f"configs[{index}]", {"config_name": str}, errors)


def _check_space(data: dict[str, Any], errors: list[str]) -> None:
    _require(data, "", {"title": str, "sdk": str}, errors)
    _check_choice(data, "sdk", SDKS, errors)
    _check_choice(data, "colorFrom", COLOURS, errors)
    _check_choice(data, "colorTo", COLOURS, errors)
    _check_choice(data, "header", ("mini", "default"), errors)
    if len(str(data.get("short_description", ""))) > SHORT_DESCRIPTION_LENGTH:
        errors.append(
            f'"short_description" length must be less than or equal to {SHORT_DESCRIPTION_LENGTH} characters long'
        )
    for key in ("pinned", "fullWidth", "hf_oauth", "disable_embedding"):
        if not isinstance(data.get(key, True), bool):
            errors.append(f'"{key}" must be a boolean')
    for key in ("sdk_version", "python_version"):
        # YAML reads 3.10 as the number 3.1, so that a version is written between quotes.
        if not re.fullmatch(r"\d+(\.\d+)*[a-z0-9.]*", str(data.get(key, "1"))):
            errors.append(f'"{key}" must be a version')
    for key in ("models", "datasets", "preload_from_hub"):
        _check_list(data, key, errors)
    for key in ("models", "datasets"):
        for name in as_list(data.get(key)):
            if not REPO_NAME.fullmatch(str(name)):
                errors.append(f'"{key}" with value "{name}" is not valid. Use an id from https://hf.co/{key}.')


def _check_choice(data: dict[str, Any], key: str, choices: Any, errors: list[str]) -> None:
    for value in as_list(data.get(key)):
        if value not in choices:
            errors.append(f'"{key}" must be one of [{", ".join(choices)}]')


def _check_list(data: dict[str, Any], key: str, errors: list[str]) -> None:
    if not all(isinstance(value, str) for value in as_list(data.get(key))):
        errors.append(f'"{key}" must be a string or an array of strings')


def _require(value: Any, where: str, fields: dict[str, type], errors: list[str]) -> None:
    if not isinstance(value, dict):
        errors.append(f'"{where}" must be of type object')
        return
    for name, kind in fields.items():
        path = f"{where}.{name}".lstrip(".")
        if value.get(name) is None:
            errors.append(f'"{path}" is required')
        elif not isinstance(value[name], kind):
            errors.append(f'"{path}" must be of type {kind.__name__}')


def _field(value: Any, name: str, kind: type) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, kind) else kind()


def as_list(value: Any) -> list[Any]:
    """A list as it is, one value as a list of one, nothing as an empty list."""
    return value if isinstance(value, list) else [] if value is None else [value]
