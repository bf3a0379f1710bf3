"""The model card: every line of it, its metadata as the Hub reads it, and its figures, for every kind of model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from ser_hf.card import CardError, add_evaluation, write_card
from ser_hf.labels import LABELS
from ser_hf.runs import read_run_json, write_run_json
from tests.predictions import make_predictions, make_run, make_table
from tests.tiny_models import save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parent.parent
PATTERNS = Path(__file__).parent / "card_patterns"
BUNDLED = sorted(path.parent for path in (REPOSITORY / "models").glob("*/config.json"))

# What a placeholder in a pattern file stands for; everything else there is meant literally.
PLACEHOLDERS = {
    "<x.x>": r"\d{1,3}\.\d",
    "<x.xxx>": r"\d+\.\d{3}",
    "<0.x>": r"[01]\.\d{1,4}",
    "<expression>": f"(?:{'|'.join(LABELS)})",
    "<Expression>": f"(?:{'|'.join(label.capitalize() for label in LABELS)})",
    "<actor>": r"(?:0[1-9]|10)",
}

ARGUMENTS = {
    "corpora": "ravdess",
    "base_model": "/home/somebody/copy/of/it",
    "base_model_id": "openai/whisper-base",
    "data_dir": "/home/somebody/data",
    "output_dir": "/home/somebody/runs/whisper-actor",
    "hub_token": "<HUB_TOKEN>",
    "num_layers": 1,
    "num_train_epochs": 2,
    "learning_rate": 6e-05,
    "fit_head_first": True,
    "load_best_model_at_end": False,
    "folds": None,
}
MACHINE = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": None},
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "python": "3.11.7",
    "platform": "Linux x86_64",
    "processor": "Some Processor w/ Graphics",
    "cpu_flags": ["avx2"],
}
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


def save_svm_config(folder: Path) -> Path:
    """A classical model folder as far as its card looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "ser_hf-classical",
        "family": "svm",
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "feature_groups": ["pitch", "energy"],
        "temperature": 1.25,
        "answer_threshold": 0.575,
        "parameters": {"C": 8, "gamma": 0.0005},
        "cross_validation_accuracy": 0.5,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def add_example(folder: Path) -> None:
    scores = dict.fromkeys(LABELS, 0.02) | {"sad": 0.86}
    (folder / "example.flac").write_bytes(b"fLaC")
    (folder / "example.json").write_text(json.dumps({"label": "sad", "scores": scores}))


def neural_run(folder: Path, protocol: str, seed: int = 0, folds: int = 2, **facts) -> Path:
    """A fine-tuning run on ten actors, of the first folds of the protocol only."""
    records = [
        {"index": index, "temperature": 0.5 + index, "seconds": 60.0, "resumed": False} for index in range(folds)
    ]
    defaults = {"command": "train.finetune", "model": "whisper", "arguments": ARGUMENTS, "folds": records}
    make_run(
        folder, make_predictions(make_table(), seed=seed, folds=folds), protocol, **{**defaults, **MACHINE, **facts}
    )
    return folder


def classical_run(folder: Path, protocol: str) -> Path:
    chosen = {"parameters": {"C": 2, "gamma": 0.0005}, "temperature": 1.5, "seconds": 30.0}
    make_run(
        folder,
        make_predictions(make_table(), skill=1.0),
        protocol,
        command="train.baseline",
        arguments={"corpora": "ravdess", "features": "pitch,energy", "seed": 0},
        folds=[{"index": index, **chosen} for index in (0, 1)],
        **MACHINE,
    )
    return folder


@pytest.fixture(scope="module")
def neural(tmp_path_factory) -> Path:
    """A transformer with a speaker-independent and a speaker-dependent evaluation, and an example."""
    root = tmp_path_factory.mktemp("neural")
    folder = save_tiny_whisper(root / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"answer_threshold": 0.55}))
    (folder / "familiarity.safetensors").write_bytes(b"")  # the card looks no further
    add_evaluation(folder, neural_run(root / "whisper-random", "random", seed=1))
    add_evaluation(folder, neural_run(root / "whisper-actor", "actor"))
    add_example(folder)
    return folder


@pytest.fixture(scope="module")
def classical(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("classical")
    folder = save_svm_config(root / "model")
    add_evaluation(folder, classical_run(root / "svm-actor", "actor"))
    return folder


def published(folder: Path) -> ModelCard:
    ids = {"hub_id": "alice/ser-tiny", "baseline_id": "alice/ser-svm", "dataset_id": "alice/ravdess-folds"}
    return ModelCard.load(write_card(folder, "ser-tiny", **ids))


def assert_matches(text: str, pattern_file: Path) -> None:
    """Each line of a text matches the pattern in the same place, and neither has one more."""
    lines, patterns = text.splitlines(), pattern_file.read_text(encoding="utf-8").splitlines()
    for number, (line, pattern) in enumerate(zip(lines, patterns, strict=False), start=1):
        expression = re.escape(pattern)
        for placeholder, meaning in PLACEHOLDERS.items():
            expression = expression.replace(re.escape(placeholder), meaning)
        assert re.fullmatch(expression, line), f"line {number}: {line!r} is not {pattern!r}"
    assert len(lines) == len(patterns), f"{len(lines)} lines, where {pattern_file.name} has {len(patterns)}"


def test_every_line_of_a_published_transformers_card(neural):
    assert_matches(str(published(neural)), PATTERNS / "whisper-published.md")


def test_every_line_of_a_local_classical_card(classical):
    text = write_card(classical, "ser-svm").read_text(encoding="utf-8")
    assert_matches(text, PATTERNS / "svm-local.md")


def test_the_card_is_the_same_when_it_is_written_again(neural):
    assert str(published(neural)) == str(published(neural))
    assert write_card(neural, "ser-tiny").read_bytes() == write_card(neural, "ser-tiny").read_bytes()


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
        assert data["library_name"] == "skops"


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


def rows_of(text: str, first_cells: str) -> dict[str, list[str]]:
    """The rows of the first table whose head begins with these cells, by their first cell."""
    lines = text[text.index(f"| {first_cells}") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_figures_are_those_of_the_predictions(kind, request):
    folder = request.getfixturevalue(kind)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text())
    figures = rows_of(text, "figure")
    low, high = metrics["intervals"]["accuracy"]
    assert figures["accuracy, all clips, %"] == [
        f"{100 * metrics['accuracy']:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
    ]
    assert figures["calibration error (ECE, 15 bins), %"][0] == f"{100 * metrics['ece']:.1f}"
    assert figures["negative log-likelihood, nats"][0] == f"{metrics['nll']:.3f}"
    assert f"**{100 * metrics['fold_mean_accuracy']:.1f} %**" in text
    for label, cells in rows_of(text, "expression").items():
        row = metrics["per_class"][label]
        assert cells == [*(f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1")), str(row["support"])]
    assert set(rows_of(text, "actor |")) == set(metrics["per_speaker"])
    for name, cells in rows_of(text, "actor |").items():
        assert cells[1:3] == [
            str(metrics["per_speaker"][name]["n"]),
            f"{100 * metrics['per_speaker'][name]['accuracy']:.1f}",
        ]
    kinds = rows_of(text, "clips of")
    assert kinds["women"][1] == f"{100 * metrics['per_gender']['female']['accuracy']:.1f}"
    assert kinds["strong intensity"][1] == f"{100 * metrics['per_intensity']['strong']['accuracy']:.1f}"
    assert [cells[2] for cells in rows_of(text, "fold |").values()] == [
        f"{100 * fold['accuracy']:.1f}" for fold in metrics["per_fold"].values()
    ]


def assert_clean(folder: Path, text: str) -> None:
    """No unfilled place, nothing of a machine or an account, and every link leads to a file of the folder."""
    assert not re.search(r"\{\{|\}\}|\{%|%\}|PATH_OR_HUB_ID|HUB_TOKEN|\bnan\b|\bNone\b|\bhf_\w", text)
    assert not re.search(r"/home/|/root|/tmp|/work|/Users/|[A-Z]:\\|\.\./", text)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "#"))]
    for link in links:
        assert (folder / link).is_file(), f"the card links to {link}, which is not there"
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert [Path(path).name for _, path in pictures] == ["confusion.png", "speakers.png", "reliability.png"]
    assert all(len(words) > 40 for words, _ in pictures)
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_a_published_card_has_no_loose_ends(kind, request):
    folder = request.getfixturevalue(kind)
    text = str(published(folder))
    assert_clean(folder, text)
    assert "path/to/" not in text
    assert 'from_pretrained("alice/ser-tiny@main")' in text
    assert "--model alice/ser-tiny\n" in text
    assert ('pipeline("audio-classification", model="alice/ser-tiny")' in text) == (kind == "neural")
    assert "(https://huggingface.co/alice/ser-svm)" in text
    assert "(https://huggingface.co/datasets/alice/ravdess-folds)" in text


def test_a_local_card_names_a_local_folder(neural):
    text = write_card(neural, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(neural, text)
    assert 'model="path/to/ser-tiny")' in text
    assert "alice" not in text


def test_the_speaker_dependent_figures_stand_apart(neural):
    text = write_card(neural, "ser-tiny").read_text(encoding="utf-8")
    headline, random = (
        text.index("## How well it does on voices it has never heard"),
        text.index("## Not on new voices:"),
    )
    assert headline < text.index("evaluation/whisper-actor/confusion.png") < random
    assert random < text.index("**Do not take these for figures on new voices.**")
    assert random < text.index("evaluation/whisper-random/confusion.png")
    assert text.index("whisper-random") < text.index("\n---\n", 4) or text.index("whisper-random") > random


def test_only_a_speaker_dependent_run_is_never_told_as_more(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "whisper-random", "random"))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "never heard" not in text
    assert "## How well it does on voices that were heard in training (speaker-dependent)" in text
    assert "on new voices expect less" in text


def test_the_model_of_one_fold_is_told_as_that(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    run = neural_run(tmp_path / "whisper-fold0", "actor", folds=1)
    shutil.copytree(folder, run / "fold0" / "model")  # as train.finetune leaves it
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny", hub_id="alice/fold").read_text(encoding="utf-8")
    assert "This is the model of fold 0, and these are its own test actors, of whom it learned nothing: 01, 02," in text
    assert "only fold 0 of it" in text
    assert "mean over" not in text
    assert "sister" not in text
    assert "from all clips" not in text
    assert "It is 0.500.\n" in text
    assert "Each fold in figures" in text
    assert text == write_card(folder, "ser-tiny", hub_id="alice/fold", is_final=False).read_text(encoding="utf-8")


def test_a_run_of_one_fold_that_measured_another_model(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    run = neural_run(tmp_path / "whisper-fold0", "actor", folds=1)
    save_tiny_whisper(run / "fold0" / "model", seed=1)
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "its sister, the model of fold 0." in text
    assert "its own test actors" not in text


def test_no_model_is_that_of_several_folds(neural):
    with pytest.raises(CardError, match="cannot be the model that evaluation/whisper-actor tested"):
        write_card(neural, "ser-tiny", is_final=False)


def test_other_corpora(tmp_path):
    """A model that was only tested on other corpora: nothing is said of RAVDESS, or of how it was made."""
    folder = save_tiny_whisper(tmp_path / "model")
    run = tmp_path / "whisper-cross-emodb"
    frame = make_predictions(make_table(corpus="emodb"), folds=1)
    make_run(
        run, frame, "cross", model="model", seed=None, command="python -m train.evaluate --model /home/me/m", **MACHINE
    )
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert "RAVDESS" not in text.upper().replace("EMODB", "")
    assert "It was this very model that was tested." in text
    assert "80 clips" not in text
    assert "(EMODB)" in text
    assert "These files do not tell how it was trained." in text
    assert "license" not in text.split("---\n")[1]
    write_run_json(folder / "evaluation" / run.name, heard_in_training=["emodb"])
    assert "although it learned from emodb" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "never heard" not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_single_test_actor_has_no_interval(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    frame = make_predictions(make_table(actors=[1]), folds=1)
    run = make_run(tmp_path / "whisper-loao", frame, "loao", command="train.finetune", arguments=ARGUMENTS, **MACHINE)
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert "interval |" not in text
    assert "of 1 actor " in text
    assert "understand everybody alike" not in text


def test_where_no_epoch_is_learned_the_card_leaves_out_how_one_would_be(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "run", "actor", arguments=ARGUMENTS | {"num_train_epochs": 0}))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "`num_train_epochs`" in text
    assert "`learning_rate`" not in text
    assert "epoch kept" not in text


@pytest.mark.parametrize(
    ("layers", "deviations", "words"),
    [
        (5, [2, 4], "The first 3 layers of the encoder of"),
        (
            5,
            [2, 4],
            ", as pretrained, and a linear classifier of the means and deviations of layers 2 and 3, fitted on RAVDESS",
        ),
        (2, [1], "The first layer of the encoder of"),
        (2, [1], "deviations of layer 1, fitted on RAVDESS"),
        (5, [3], "classifier of the means and deviations of layer 3 and the means of layer 4, fitted on RAVDESS"),
    ],
)
def test_the_card_tells_the_layers_that_are_heard_from_those_that_hear_them(layers, deviations, words, tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "encoder_layers": layers, "deviation_layers": deviations})
    )
    add_evaluation(folder, neural_run(tmp_path / "run", "actor", arguments=ARGUMENTS))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibrate": False}, "Its probabilities were not calibrated."),
        (
            {"load_best_model_at_end": True, "metric_for_best_model": "balanced_accuracy"},
            "the best balanced accuracy on",
        ),
        ({"early_stopping_patience": 3}, "training stopped after 3 epochs without a better one"),
        ({"hold_out_validation": False, "reference_run": "/home/me/runs/earlier"}, "an earlier run (`earlier`)"),
        ({"folds_from": "alice/folds@v1"}, "the folds 'actor' of alice/folds@v1; no speaker is in training and test"),
        ({"max_steps": 40}, "| `max_steps`: updates of the weights | 40 |"),
        ({"base_model_id": None}, "The first layer of the encoder of Whisper, fine-tuned"),
        ({"num_train_epochs": 0}, "Nothing was learned by gradient"),
    ],
)
def test_the_card_follows_the_arguments(changes, words, tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "run", "actor", arguments=ARGUMENTS | changes))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert words in text


def test_windows_are_told_for_each_kind_of_extractor(neural, tmp_path):
    folder = shutil.copytree(neural, tmp_path / "model")
    assert "**It hears 5 s at once.**" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_length": 1024}))
    assert "**It hears 10.24 s at once.**" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    (folder / "preprocessor_config.json").write_text("{}")
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "The stock pipeline gives it a recording as a whole" in text


def test_no_evidence_no_card(tmp_path):
    folder = save_svm_config(tmp_path / "model")
    with pytest.raises(CardError, match=r"holds no evaluation/"):
        write_card(folder, "ser-svm")
    assert not (folder / "README.md").exists()


def test_an_example_that_says_nothing_is_refused(classical, tmp_path):
    folder = shutil.copytree(classical, tmp_path / "model")
    add_example(folder)
    (folder / "example.json").write_text("[]")
    with pytest.raises(CardError, match=r"example\.json does not hold"):
        write_card(folder, "ser-svm")


@pytest.mark.parametrize("bundled", BUNDLED, ids=lambda path: path.name)
def test_the_card_of_a_bundled_model_is_what_its_files_give(bundled, tmp_path):
    folder = shutil.copytree(bundled, tmp_path / bundled.name)
    kept = (folder / "README.md").read_text(encoding="utf-8")
    assert write_card(folder, bundled.name).read_text(encoding="utf-8") == kept
    assert_clean(folder, kept)
    for run in sorted((folder / "evaluation").iterdir()):
        reported = REPOSITORY / "reports" / "runs" / run.name
        assert (run / "predictions.parquet").read_bytes() == (reported / "predictions.parquet").read_bytes()
        assert read_run_json(run)["protocol"] == read_run_json(reported)["protocol"]


def test_a_run_that_trained_on_other_corpora_is_not_taken_for_a_test_of_this_model(tmp_path):
    model = save_tiny_whisper(tmp_path / "model")
    frame = make_predictions(make_table(corpus="emodb"), folds=1)
    arguments = {"train_corpora": ["ravdess"], "test_corpora": ["emodb"], "base_model_id": "openai/whisper-base"}
    run = make_run(tmp_path / "whisper-cross-seed42", frame, "cross", command="train.finetune", arguments=arguments)
    add_evaluation(model, run)
    text = write_card(model, "ser-tiny").read_text()
    assert "by a model that learned from ravdess" in text
    assert "fine-tuned on RAVDESS" in text
    assert "this very model" not in text


def test_a_model_that_learned_from_more_than_its_sisters_says_so(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "whisper-actor", "actor"))
    alone = write_card(folder, "ser-tiny").read_text()
    assert "besides" not in alone
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"learned_from": ["ravdess", "emodb"]}))
    card = write_card(folder, "ser-tiny").read_text()
    assert "fine-tuned on RAVDESS, EMODB;" in card
    assert (
        "by the same recipe, and on all of EMODB besides, of which the models that were tested learned nothing." in card
    )
    assert "license: cc-by-nc-sa-4.0" in card
    assert "burkhardt2005database" in card
    assert "burkhardt2005database" not in alone
    (folder / "config.json").write_text(json.dumps(config | {"learned_from": 7}))
    assert write_card(folder, "ser-tiny").read_text() == alone
