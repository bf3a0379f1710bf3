"""The evidence in a model folder: ``evaluation/<run>/`` holds the predictions behind every figure of the model's card.

Each is a copy of a run folder with plots, without paths of the machine or names of the account that ran it.
"""

from __future__ import annotations

import filecmp
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from ser_hf.classifier import CLASSICAL_MODEL_TYPE
from ser_hf.evaluation.runs import METRICS, PREDICTIONS, RUN
from ser_hf.hub import looks_like_folder
from ser_hf.hub.evaluation import EVALUATION, CardError, Evaluation
from ser_hf.protocols import PROTOCOLS
from ser_hf.utils.files import replacing, write_json

WEIGHTS = "model.safetensors"
LEFT_OUT = "left_out_corpora"  # in metrics.json
TOLERANCE = 1e-6

# Of run.json: where things lay, and what belongs to an account rather than to the run.
PRIVATE = {"data_dir", "output_dir", "overwrite_output_dir", "logging_dir", "run_name", "hub_token", "hub_model_id"}
ENVIRONMENT = {"versions", "python", "platform", "processor", "cpu_flags", "cores", "git_commit"}
TOKEN = re.compile(r"\bhf_\w{6,}")


def add_evaluation(model_folder: str | Path, run_folder: str | Path) -> Path:
    """Copy a run into a model folder as evidence of how good the model is, and draw its pictures.

    ``metrics.json`` of the model folder then holds the figures of the headline evaluation: the first that was added of
    the best protocol that there is, in the order of `ser_hf.protocols`. The same run added again replaces its copy.

    Args:
        model_folder: a saved model; its ``config.json`` says which kind it is.
        run_folder: a run that has ended: one of the same recipe, or one that tested this very model.

    Returns:
        ``evaluation/<run folder's name>`` in the model folder.

    Raises:
        CardError: the run cannot be read, did not end, or is one of another kind of model.
    """
    from ser_hf.evaluation.plots import save_run_plots  # matplotlib, which who only reads cards does not need

    model_folder, run_folder = Path(model_folder), Path(run_folder).resolve()
    copy = model_folder / EVALUATION / run_folder.name
    added = Evaluation.read(run_folder)
    _check_kind(model_folder, added, run_folder)
    published = publishable(added.run)
    if published.get("tests_this_model") is None:
        published["tests_this_model"] = _tests_this_model(model_folder, added, run_folder)
    copy.mkdir(parents=True, exist_ok=True)
    if copy.resolve() != run_folder:
        with replacing(copy / PREDICTIONS) as part:
            shutil.copyfile(run_folder / PREDICTIONS, part)
    write_json(copy / RUN, published)
    write_json(model_folder / METRICS, model_metrics(read_evaluations(model_folder)))
    note = "" if added.speaker_independent else " (speaker-dependent)"
    save_run_plots(added.frame, added.metrics, copy, f"{added.name}{note}")
    return copy


def read_evaluations(model_folder: str | Path) -> list[Evaluation]:
    """All evaluations of a model folder, the headline one first.

    Raises:
        CardError: there is none, or one cannot be read.
    """
    model_folder = Path(model_folder)
    found = [Evaluation.read(path) for path in sorted((model_folder / EVALUATION).glob("*")) if path.is_dir()]
    if not found:
        raise CardError(f"{model_folder} holds no {EVALUATION}/, so nobody knows how good the model is: add_evaluation")
    known = read_json(model_folder / METRICS) if (model_folder / METRICS).is_file() else {}
    known.pop(LEFT_OUT, None)

    def order(evaluation: Evaluation) -> tuple[int, bool, str]:
        rank = [*PROTOCOLS].index(evaluation.protocol) if evaluation.speaker_independent else len(PROTOCOLS)
        return rank, difference(known, evaluation.summary) is not None, evaluation.name

    return sorted(found, key=order)


def model_metrics(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The contents of ``metrics.json``: the headline evaluation, and ``left_out_corpora`` where that was measured.

    Returns:
        The summary of the first evaluation, and the UAR of each corpus that was left out of training
        (``balanced_accuracy``, by name) with their ``mean``.
    """
    left_out = [one.metrics for one in evaluations if one.protocol == "loco" and "per_corpus" in one.metrics]
    if not left_out:
        return evaluations[0].summary
    found = {name: group["balanced_accuracy"] for name, group in left_out[0]["per_corpus"].items()}
    mean = left_out[0]["mean_over_corpora"]["balanced_accuracy"]
    return {**evaluations[0].summary, LEFT_OUT: {"mean": mean, "balanced_accuracy": found}}


def check_metrics(model_folder: str | Path) -> None:
    """Hold ``metrics.json`` of a model folder to the predictions in ``evaluation/``: every figure, within 1e-6.

    Raises:
        CardError: a figure differs, is missing or is one too many; the message names it.
    """
    path, evaluations = Path(model_folder) / METRICS, read_evaluations(model_folder)
    if found := difference(read_json(path), model_metrics(evaluations)):
        raise CardError(
            f"{path} is not what {EVALUATION}/{evaluations[0].name}/{PREDICTIONS} gives: {found}. Put the predictions "
            "back that it was computed from, or add that run again"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        CardError: it is not there, or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CardError(f"{path} holds no JSON object")
    return content


def read_config(model_folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder.

    Raises:
        CardError: it is not there, or names no kind of model.
    """
    config = read_json(model_folder / "config.json")
    if "model_type" not in config:
        raise CardError(f"{model_folder / 'config.json'} names no model_type, so it is no model's")
    return config


def difference(stored: Any, computed: Any, place: str = "") -> str | None:
    """The first figure by which two structures of figures differ by more than 1e-6, in words; None if they agree."""
    if isinstance(stored, list) and isinstance(computed, list):
        stored, computed = dict(enumerate(stored)), dict(enumerate(computed))
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in {**computed, **stored}:
            inner = f"{place}.{key}" if place else str(key)
            if key not in stored or key not in computed:
                return f"{inner} is {'one too many' if key in stored else 'missing'}"
            if found := difference(stored[key], computed[key], inner):
                return found
        return None
    if {type(stored), type(computed)} <= {int, float}:
        same = math.isclose(stored, computed, rel_tol=0, abs_tol=TOLERANCE)  # False for NaN
    else:
        same = type(stored) is type(computed) and stored == computed
    return None if same else f"{place} is {stored!r} there and {computed!r} by the predictions"


def publishable(run: dict[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says, without the paths of the machine that ran it and without tokens.

    A base model is named by its Hub id where there is one, and otherwise, like runs that are referred to, by the name
    of its folder.
    """
    kept = {key: value if key in ENVIRONMENT else _without_paths(value) for key, value in run.items()}
    arguments = {key: value for key, value in run.get("arguments", {}).items() if key not in PRIVATE}
    if arguments.get("base_model_id"):
        arguments["base_model"] = arguments["base_model_id"]
    if isinstance(arguments.get("reference_run"), str):
        arguments["reference_run"] = ",".join(map(_last_part, arguments["reference_run"].split(",")))
    if arguments.get("resume_from_checkpoint"):
        arguments["resume_from_checkpoint"] = True  # that it was, not from where
    if "arguments" in run:
        kept["arguments"] = _without_paths(arguments)
    if isinstance(run.get("command"), str):
        words = [word for word in run["command"].split() if word.startswith("train.")]
        kept["command"] = words[0] if words else None
    if "failed" in run:  # the messages name files
        kept["failed"] = [{"clip": one.get("clip")} for one in run["failed"]]
    return kept


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(one) for key, one in value.items() if not str(key).endswith("_token")}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    if not isinstance(value, str):
        return value
    if TOKEN.search(value):
        return None
    is_path = ("/" in value or "\\" in value or value.startswith("~")) and looks_like_folder(value)
    return _last_part(value) if is_path else value


def _last_part(path: str) -> str:
    return PureWindowsPath(path.strip()).name  # which knows both kinds of slash


def _check_kind(model_folder: Path, added: Evaluation, run_folder: Path) -> None:
    """Refuse a run of another kind of model; one that trained nothing names a model rather than a kind."""
    config, run = read_config(model_folder), added.run
    if config["model_type"] == CLASSICAL_MODEL_TYPE:
        fits = run.get("model") == config.get("family")
    else:
        fits = run.get("command") != "train.baseline" or added.arguments.get("features") == "embeddings"
    if not fits and not added.tested_finished_model:
        raise CardError(f"{run_folder} is a run of {run.get('model')!r}, which the model in {model_folder} is not")


def _tests_this_model(model_folder: Path, added: Evaluation, run_folder: Path) -> bool:
    """Whether the run tested this very model rather than others of its recipe: its only fold's weights are these."""
    if added.tested_finished_model:
        return True
    weights = [run_folder / f"fold{record['index']}" / "model" / WEIGHTS for record in added.run.get("folds", [])]
    ours = model_folder / WEIGHTS
    return len(weights) == 1 and weights[0].is_file() and ours.is_file() and filecmp.cmp(weights[0], ours, False)
