"""The model card: ``model_card.md`` filled with the figures of a run."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ser_hf.labels import LABELS
from ser_hf.runs import METRICS, read_run_json, write_json

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"

FIGURES = {
    "fold_mean_accuracy": "accuracy, mean over folds",
    "accuracy": "accuracy, all clips",
    "balanced_accuracy": "balanced accuracy (UAR)",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE, 15 bins)",
    "nll": "negative log-likelihood",
}
PROTOCOL_WORDS = {
    "actor": "five actor-disjoint folds (Luna-Jimenez et al. 2022), so that no actor is in training and test",
    "random": "a stratified split over clips: the same voices are in training and test (speaker-dependent)",
    "emobox": "six actor-disjoint folds of EmoBox (arXiv 2406.07162)",
    "loao": "one actor left out at a time",
}
WHISPER_USAGE = """```python
from transformers import pipeline

classify = pipeline("audio-classification", model="PATH_OR_HUB_ID")
classify("clip.wav", top_k=None)  # a file name needs the ffmpeg program; a float array at 16 kHz does not
```

Nothing of ours is needed for that. With `ser_hf`, longer recordings are heard in windows, and silence is told:

```python
from ser_hf import EmotionClassifier

EmotionClassifier.from_pretrained("PATH_OR_HUB_ID").predict("clip.wav")
```"""
CLASSICAL_USAGE = """```python
from ser_hf import EmotionClassifier

EmotionClassifier.from_pretrained("PATH_OR_HUB_ID").predict("clip.wav")
```

The pipeline is saved by `skops`; no type beyond scikit-learn's own needs to be trusted to load it."""
WHISPER_CITATION = (
    '- A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, arXiv:2212.04356 '
    "(the encoder, MIT)."
)


def write_card(model_folder: str | Path, run_folder: str | Path, name: str, is_final: bool = True) -> Path:
    """Write ``README.md`` and ``metrics.json`` of a model folder from the run that measured its recipe.

    Args:
        model_folder: a saved model; its ``config.json`` says which kind it is.
        run_folder: run on held-out speakers by the same recipe (``run.json``, ``metrics.json``).
        name: what the model is called.
        is_final: the model was trained on all speakers, the run on all but those of each fold.

    Returns:
        The path of the card.
    """
    model_folder, run_folder = Path(model_folder), Path(run_folder)
    run = read_run_json(run_folder)
    metrics = json.loads((run_folder / METRICS).read_text(encoding="utf-8"))
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    neural = config["model_type"] != "ser_hf-classical"
    arguments = run["arguments"]
    base_model = (arguments.get("base_model_id") or arguments["base_model"]) if neural else None
    card = ModelCard.from_template(
        ModelCardData(
            language="en",
            license="cc-by-nc-sa-4.0",
            library_name="transformers" if neural else "skops",
            pipeline_tag="audio-classification",
            tags=["audio-classification", "speech-emotion-recognition", "emotion", "ravdess"],
            base_model=base_model,
            metrics=["accuracy", "f1"],
            model_name=name,
            eval_results=_eval_results(run["protocol"], metrics),
        ),
        template_path=str(TEMPLATE),
        title=name,
        summary=_summary(config, base_model, run["model"]),
        labels=list(LABELS),
        n_clips=metrics["n_clips"],
        n_speakers=metrics["n_speakers"],
        n_folds=len(metrics["per_fold"]),
        protocol_words=PROTOCOL_WORDS[run["protocol"]],
        is_final=is_final,
        rows=[_figure_row(key, title, metrics) for key, title in FIGURES.items()],
        women=_percent(metrics["per_gender"]["female"]["accuracy"]),
        men=_percent(metrics["per_gender"]["male"]["accuracy"]),
        worst=_percent(min(row["accuracy"] for row in metrics["per_speaker"].values())),
        best=_percent(max(row["accuracy"] for row in metrics["per_speaker"].values())),
        classes=[_class_row(label, metrics["per_class"][label]) for label in LABELS],
        usage=WHISPER_USAGE if neural else CLASSICAL_USAGE,
        window_words=_window_words(config),
        training_words=_training_words(run, neural),
        citation=WHISPER_CITATION if config["model_type"] == "whisper" else "",
    )
    heard = {"corpora": arguments["corpora"].split(","), "protocol": run["protocol"]}
    write_json(model_folder / METRICS, {**heard, **metrics})
    path = model_folder / "README.md"
    card.save(path)
    return path


def _eval_results(protocol: str, metrics: dict) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type="ravdess",
            dataset_name=f"RAVDESS speech, protocol {protocol}",
            metric_type=kind,
            metric_name=FIGURES[key],
            metric_value=round(metrics[key], 4),
        )
        for kind, key in (
            ("accuracy", "fold_mean_accuracy"),
            ("recall", "balanced_accuracy"),
            ("f1", "macro_f1"),
        )
    ]


def _summary(config: dict, base_model: str | None, family: str) -> str:
    if base_model is None:
        return f"A classical baseline ({family}) on engineered features of the voice."
    return f"A small transformer, {base_model} fine-tuned on RAVDESS, that runs on a laptop's processor."


def _window_words(config: dict) -> str:
    if config["model_type"] == "whisper":
        seconds = config["max_source_positions"] / 50
        return (
            f"It hears {seconds:g} s at once. The stock pipeline cuts longer clips there without a word; `ser_hf` "
            "hears them in overlapping windows."
        )
    return "`ser_hf` hears long recordings in overlapping windows."


def _training_words(run: dict, neural: bool) -> str:
    minutes = run["seconds"] / 60
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)
    command = "train.finetune" if neural else "train.baseline"
    calibration = (
        "Its temperature was fitted on two actors of each training part that it did not learn from, and is part of the "
        "weights."
        if neural
        else "Its parameters and its temperature were chosen by cross-validation over actors inside the training part."
    )
    return (
        f"{calibration} `python -m {command}` made it; every argument is in `run.json` of the run that gave them, "
        f"which took {minutes:.0f} minutes on {run['processor']} ({versions})."
    )


def _figure_row(key: str, title: str, metrics: dict) -> dict[str, str]:
    is_share = key in ("fold_mean_accuracy", "accuracy", "balanced_accuracy", "macro_f1")
    words = _percent if is_share else "{:.3f}".format
    interval = metrics["intervals"].get(key)
    return {
        "name": title,
        "value": words(metrics[key]),
        "interval": f"{words(interval[0])} to {words(interval[1])}" if interval else "",
    }


def _class_row(label: str, row: dict) -> dict[str, str]:
    values = {key: "" if row[key] is None else _percent(row[key]) for key in ("precision", "recall", "f1")}
    return {"label": label, "support": row["support"], **values}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
