import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from app.about import about_html
from app.views import OTHER_SYMBOLS
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.labels import LABELS
from ser_hf.protocols import PROTOCOLS
from tests.app.pages import Tree

REPOSITORY = Path(__file__).resolve().parents[2]


def make_metrics(skill: float, seed: int = 0) -> dict:
    """A ``metrics.json`` of five actors in two unequal folds, with half as many clips of ``neutral``."""
    rng = np.random.default_rng(seed)
    rows = []
    for actor in range(1, 6):
        for emotion in [*LABELS, *LABELS[1:]]:
            scores = rng.dirichlet(np.full(len(LABELS), 0.5))
            scores = skill * np.eye(len(LABELS))[LABELS.index(emotion)] + (1 - skill) * scores
            row = {"corpus": "ravdess", "speaker": f"{actor:02d}", "gender": "male" if actor % 2 else "female"}
            row |= {"emotion": emotion, "predicted": LABELS[scores.argmax()], "fold": actor % 2}
            rows.append(row | {f"p_{label}": score for label, score in zip(LABELS, scores, strict=True)})
    metrics = {"corpora": ["ravdess"], "protocol": "actor", **evaluate_predictions(pd.DataFrame(rows), n_bootstrap=20)}
    metrics["calibration"] = [
        {"low": 0.2, "high": 0.4, "n": 11, "confidence": 0.31, "accuracy": 0.26},
        {"low": 0.6, "high": 0.8, "n": 44, "confidence": 0.72, "accuracy": 0.81},
    ]
    return json.loads(json.dumps(metrics))


@pytest.fixture(scope="module")
def measured() -> tuple[dict, dict]:
    return make_metrics(0.35), make_metrics(0.15, seed=1)


def show(*metrics: dict | None, names: tuple[str, str] = ("good", "plain")) -> str:
    model, baseline = (
        SimpleNamespace(name=name, metrics=one, trained_on=["ravdess"] if one else [])
        for name, one in zip(names, metrics, strict=True)
    )
    return about_html(model, baseline, "Voices are deleted <soon>.")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def rows_of(html: str) -> dict[str, list[str]]:
    """The first table's cells by the text of the row's head."""
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html[: html.index("</tbody>")])
    return {Tree(row).texts("th")[0]: Tree(row).texts("td") for row in rows}


def test_about_shows_the_figures_of_both_models(measured):
    rows = rows_of(show(*measured))
    for place, metrics in enumerate(measured):
        intervals = {key: f"{100 * low:.1f} to {100 * high:.1f}" for key, (low, high) in metrics["intervals"].items()}
        accuracies = [group["accuracy"] for group in metrics["per_speaker"].values()]
        expected = {
            "Accuracy on unseen speakers": f"{percent(metrics['fold_mean_accuracy'])} {intervals['accuracy']}",
            "UAR": f"{percent(metrics['balanced_accuracy'])} {intervals['balanced_accuracy']}",
            "Macro F1": f"{percent(metrics['macro_f1'])} {intervals['macro_f1']}",
            "Calibration error": f"{100 * metrics['ece']:.1f} {intervals['ece']}",
            "Women": percent(metrics["per_gender"]["female"]["accuracy"]),
            "Men": percent(metrics["per_gender"]["male"]["accuracy"]),
            "Lowest accuracy": percent(min(accuracies)),
            "Highest accuracy": percent(max(accuracies)),
            "Chance": "12.5 %",
            "Largest class": percent(10 / 75),
        }
        for title, cell in expected.items():
            (found,) = [cells[place] for row, cells in rows.items() if row.startswith(title)]
            assert found.startswith(cell), title


def test_about_describes_each_protocol_once(measured):
    html = show(*measured)
    for words in ("75 clips of 5 speakers of RAVDESS", PROTOCOLS["actor"].description, "2 cross-validation models"):
        assert html.count(words) == 1
    html = show(measured[0], measured[1] | {"protocol": "random"})
    assert rows_of(html)["Accuracy on unseen speakers"][1] == "not measured"
    assert rows_of(html)["Accuracy right predictions"][0] == "not measured"
    assert html.count(PROTOCOLS["actor"].description) == html.count(PROTOCOLS["random"].description) == 1
    assert "unseen speakers" not in show(*(metrics | {"protocol": "random"} for metrics in measured))


def test_confusion_matrix_holds_the_per_cent_of_each_row(measured):
    counts = np.array(measured[0]["confusion_matrix"])
    counts[2] = 0  # a label without clips has no row
    others = np.arange(len(LABELS)) != 2
    html = show(measured[0] | {"confusion_matrix": counts.tolist()}, None)
    tree = Tree(re.search(r'<table class="ser-confusion">.*?</table>', html)[0])
    shares = 100 * counts[others] / counts[others].sum(axis=1, keepdims=True)
    right = np.eye(len(LABELS), dtype=bool)[others]
    assert tree.texts("td") == [f"{share:.0f}" for share in shares.ravel()]
    assert [cell.get("class") == "ser-right" for cell in tree.attributes("td")] == right.ravel().tolist()
    wrong = np.where(right, 0, shares)
    expressed, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = f"{np.array(LABELS)[others][expressed]} as {LABELS[predicted]}, {wrong.max():.0f} %"
    assert worst in tree.texts("caption")[0]


def test_spread_marks_every_actor_and_hides_none(measured):
    speakers = {f"{number:02d}": {"accuracy": 0.5 + number / 100, "gender": "male"} for number in range(9)}
    speakers |= {"same": speakers["03"], "other": {"accuracy": 0.5}}
    html = show(measured[0] | {"per_speaker": speakers}, None)
    found = re.findall(r'<svg x="([\d.]+)%" y="(\d+)"><title>speaker (\w+): ([^<]+)</title>', html)
    assert {actor: words for _, _, actor, words in found} == {
        actor: percent(group["accuracy"]) for actor, group in speakers.items()
    }
    marks = [(float(x), float(y)) for x, y, _, _ in found]
    assert [x for x, _ in marks] == pytest.approx([100 * speakers[actor]["accuracy"] for _, _, actor, _ in found])
    pairs = [(first, second) for place, first in enumerate(marks) for second in marks[:place]]
    # A mark is 9 px wide and high, and a strip on a phone about 260 px.
    assert all(abs(x1 - x2) * 2.6 >= 9 or abs(y1 - y2) >= 9 for (x1, y1), (x2, y2) in pairs)


def test_reliability_diagram_has_a_dot_per_bin(measured):
    html = show(measured[0], None)
    (x1, y1, r1), (x2, y2, r2) = [
        tuple(map(float, circle)) for circle in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', html)
    ]
    scale = (x2 - x1) / (0.72 - 0.31)
    assert (y1 - y2) / (0.81 - 0.26) == pytest.approx(scale, rel=0.01)  # the diagonal is where the two are equal
    assert (r2 / r1) ** 2 == pytest.approx(44 / 11, rel=0.05)
    assert "44 predictions, confidence 72.0 %, accuracy 81.0 %" in html


def test_about_labels_every_drawing_and_scrolling_box(measured):
    tree = Tree(show(*measured))
    drawings = [attributes for attributes in tree.attributes("svg") if "class" in attributes]
    assert len(drawings) == 4
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert "(good)" in attributes["aria-label"] or "(plain)" in attributes["aria-label"]
    boxes = [attributes for attributes in tree.attributes("div") if attributes.get("class") == "ser-scroll"]
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    assert all(head["scope"] in ("row", "col") for head in tree.attributes("th"))


def test_about_links_to_cards_and_law(measured):
    commit = "1a2b3c4d5e" * 4
    tree = Tree(show(*measured, names=(f"alice/model@{commit}", "alice/baseline@refs/pr/1")))
    assert commit not in "".join(tree.texts("div"))
    links = [link["href"] for link in tree.attributes("a")]
    cards = [link.removeprefix("https://huggingface.co/") for link in links if "huggingface" in link]
    assert cards == [f"alice/model/blob/{commit}/README.md", "alice/baseline/blob/refs%2Fpr%2F1/README.md"]
    assert any("eur-lex.europa.eu" in link for link in links)


def test_about_shows_and_escapes_what_models_bring(measured):
    evil = "<img src=x onerror=alert(1)>"
    metrics = json.loads(json.dumps(measured[0]).replace('"happy"', json.dumps(evil)).replace('"female"', f'"{evil}"'))
    metrics |= {"protocol": evil, "corpora": [evil]}
    metrics["per_speaker"] = {f'{name}"{evil}': group for name, group in metrics["per_speaker"].items()}
    html = show(metrics, None, names=(evil, f'"{evil}/"><b>'))
    assert not Tree(html).attributes("img")
    assert "&lt;img" in html
    assert "Voices are deleted &lt;soon&gt;." in html
    assert OTHER_SYMBOLS[0] in html  # of a label that is none of ours


@pytest.mark.parametrize("other", [None, {}, {"eval_loss": 0.7}, "ece", "per_speaker", "confusion_matrix", "n_clips"])
def test_about_names_a_model_without_figures(measured, other):
    """It has no metrics, those of another program, or ours with something else in one place."""
    metrics = measured[0] | {other: "text"} if isinstance(other, str) else other
    if other == "n_clips":
        metrics.pop("n_clips")
    html = show(metrics, measured[1])
    assert "Neural network (good) has no measured figures" in html
    assert all(len(cells) == 1 for cells in rows_of(html).values())
    neither = show(metrics, metrics)
    assert neither.count("has no measured figures") == 2
    assert "<table" not in neither
    assert "<svg" not in neither


def test_about_has_every_part_of_the_bundled_models():
    folders = [REPOSITORY / "models" / name for name in ("ser-whisper", "ser-svm")]
    html = show(*(json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders))
    assert html.count("not measured</td>") == 1  # the SVM on left-out corpora
    for class_name in ("ser-figures", "ser-confusion", "ser-strip", "ser-diagram"):
        assert f'class="{class_name}"' in html


def test_styles_survive_gradio():
    """Gradio splits selectors at commas, also inside of parentheses, and a rule that is cut so wins over the whole."""
    selectors = re.findall(r"([^{}]*){", (REPOSITORY / "app" / "about.css").read_text(encoding="utf-8"))
    assert not [selector for selector in selectors if re.search(r":\w+\([^)]*,", selector.split("*/")[-1])]
