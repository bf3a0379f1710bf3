import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.about import Described, about_html
from app.about_figures import SHAPES
from app.elements import OTHER_SYMBOL
from ser_hf.labels import LABELS
from ser_hf.marks import EMOTION_SYMBOLS, GENDER_STYLES
from ser_hf.metrics import evaluate_predictions
from ser_hf.protocols import PROTOCOLS

APP = Path(__file__).resolve().parents[2] / "app"
PRIVACY = "Voices are deleted <soon>."
VOID = {"br"}


class Tree(HTMLParser):
    """Every element as (tag, attributes, text inside), and whether each that is opened is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data):
        for index in self.open:
            self.elements[index][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return [" ".join("".join(text).split()) for name, _, text in self.elements if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def make_metrics(skill: float, seed: int = 0) -> dict:
    """A ``metrics.json`` of five actors in two unequal folds, with half as many clips of ``neutral``."""
    rng = np.random.default_rng(seed)
    rows = []
    for actor in range(1, 6):
        for emotion in [*LABELS, *LABELS[1:]]:
            scores = rng.dirichlet(np.full(len(LABELS), 0.5))
            scores = skill * np.eye(len(LABELS))[LABELS.index(emotion)] + (1 - skill) * scores
            rows.append(
                {
                    "corpus": "ravdess",
                    "speaker": f"{actor:02d}",
                    "gender": "male" if actor % 2 else "female",
                    "emotion": emotion,
                    "predicted": LABELS[scores.argmax()],
                    "fold": actor % 2,
                    **{f"p_{label}": score for label, score in zip(LABELS, scores, strict=True)},
                }
            )
    metrics = {"corpora": ["ravdess"], "protocol": "actor", **evaluate_predictions(pd.DataFrame(rows), n_bootstrap=20)}
    metrics["calibration"] = [
        {"low": 0.2, "high": 0.4, "n": 11, "confidence": 0.31, "accuracy": 0.26},
        {"low": 0.6, "high": 0.8, "n": 44, "confidence": 0.72, "accuracy": 0.81},
    ]
    return json.loads(json.dumps(metrics))


@pytest.fixture(scope="module")
def measured() -> tuple[dict, dict]:
    return make_metrics(0.35), make_metrics(0.15, seed=1)


def show(model: object, baseline: object, names: tuple[str, str] = ("good", "plain")) -> str:
    trained_on = [("ravdess",) if model else (), ("ravdess",) if baseline else ()]
    return about_html(*map(Described, names, (model, baseline), trained_on), PRIVACY)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def rows_of(html: str) -> dict[str, list[str]]:
    """The first table's cells by the text of the row's head."""
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    trees = [Tree(row + "</tr>") for row in table.removeprefix("<tbody>").split("</tr>") if row]
    return {tree.texts("th")[0]: tree.texts("td") for tree in trees}


def without(metrics: dict, *keys: str) -> dict:
    return {key: value for key, value in metrics.items() if key not in keys}


def test_table_tells_the_figures_of_both_models(measured):
    rows = rows_of(show(*measured))
    for place, metrics in enumerate(measured):
        intervals = {key: f"{100 * low:.1f} to {100 * high:.1f}" for key, (low, high) in metrics["intervals"].items()}
        accuracies = {name: group["accuracy"] for name, group in metrics["per_speaker"].items()}
        expected = {
            "Accuracy on unseen speakers": f"{percent(metrics['fold_mean_accuracy'])} {intervals['accuracy']}",
            "UAR": f"{percent(metrics['balanced_accuracy'])} {intervals['balanced_accuracy']}",
            "Macro F1": f"{percent(metrics['macro_f1'])} {intervals['macro_f1']}",
            "Calibration error": f"{100 * metrics['ece']:.1f} {intervals['ece']}",
            "Women": percent(metrics["per_gender"]["female"]["accuracy"]),
            "Men": percent(metrics["per_gender"]["male"]["accuracy"]),
            "Lowest accuracy": percent(min(accuracies.values())),
            "Highest accuracy": percent(max(accuracies.values())),
            "Chance": "12.5 %",
            "Largest class": percent(10 / 75),
        }
        for title, cell in expected.items():
            found = [cells[place] for row, cells in rows.items() if row.startswith(title)]
            assert len(found) == 1, title
            assert found[0].startswith(cell), title
        for title in ("Lowest", "Highest"):
            cell = next(cells[place] for row, cells in rows.items() if row.startswith(title))
            share, name = cell.split(" actor ")
            assert percent(accuracies[name]) == share


def test_how_it_was_measured_is_said_once_where_it_is_the_same(measured):
    html = show(*measured)
    assert html.count("75 clips of 5 speakers of RAVDESS") == 1
    assert html.count(PROTOCOLS["actor"].description) == 1
    assert html.count("2 cross-validation models") == 1
    assert "bootstrap over speakers" in html
    assert html.count("do not compare") == 0


def test_voices_that_were_heard_in_training_are_not_called_unheard(measured):
    html = show(measured[0], measured[1] | {"protocol": "random"})
    rows = rows_of(html)
    assert rows["Accuracy on unseen speakers"][1] == "not measured"
    assert rows["Accuracy right predictions"][0] == "not measured"
    assert "do not compare" in html
    assert PROTOCOLS["random"].description in html
    assert "unseen speakers" not in show(*(metrics | {"protocol": "random"} for metrics in measured))


def test_confusion_matrices_hold_the_per_cent_of_each_row(measured):
    tables = re.findall(r'<table class="ser-confusion">.*?</table>', show(*measured))
    assert len(tables) == 2
    for table, metrics in zip(tables, measured, strict=True):
        counts = np.array(metrics["confusion_matrix"])
        shares = 100 * counts / counts.sum(axis=1, keepdims=True)
        tree = Tree(table)
        assert tree.texts("td") == [f"{share:.0f}" for share in shares.ravel()]
        assert [cell["style"] for cell in tree.attributes("td")] == [
            f"--share:{share:.0f}%" for share in shares.ravel()
        ]
        right = [cell.get("class") == "ser-right" for cell in tree.attributes("td")]
        assert right == np.eye(len(LABELS), dtype=bool).ravel().tolist()
        heads = [(head["scope"], text) for head, text in zip(tree.attributes("th"), tree.texts("th"), strict=True)]
        for scope in ("col", "row"):
            named = [text for kind, text in heads if kind == scope][-len(LABELS) :]
            for text, label, clips in zip(named, LABELS, counts.sum(axis=1), strict=True):
                assert label in text
                assert EMOTION_SYMBOLS[label] in text
                assert scope == "col" or f"{clips} clips" in text
        wrong = np.where(np.eye(len(LABELS)), 0, shares)
        expressed, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        assert f"{LABELS[expressed]} as {LABELS[predicted]}, {wrong.max():.0f} %" in tree.texts("caption")[0]


def test_expression_without_clips_has_no_row(measured):
    counts = np.array(measured[0]["confusion_matrix"])
    counts[2] = 0
    html = show(measured[0] | {"confusion_matrix": counts.tolist()}, None)
    assert html.count('<tr><th scope="row"><span class="ser-emotion">') == len(LABELS) - 1
    assert html.count("nan") == 0


def test_every_actor_is_a_mark_where_its_accuracy_is(measured):
    strips = re.findall(r'<svg class="ser-strip".*?</figure>', show(*measured))
    for strip, metrics in zip(strips, measured, strict=True):
        marks = re.findall(r'<svg x="([\d.]+)%" y="(\d+)"><title>actor (\w+): ([^<]+)</title>(<path[^>]+>)', strip)
        assert {name for _, _, name, _, _ in marks} == metrics["per_speaker"].keys()
        for x, _, name, words, path in marks:
            group = metrics["per_speaker"][name]
            color, shape = GENDER_STYLES[group["gender"]]
            assert float(x) == pytest.approx(100 * group["accuracy"], abs=0.01)
            assert words == percent(group["accuracy"])
            assert color in path
            assert SHAPES[shape] in path
        assert f">all clips {percent(metrics['accuracy'])}</text>" in strip


def test_speakers_of_unknown_gender_are_marks_of_another_shape(measured):
    speakers = {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.25, "gender": "male"}, "c": {"accuracy": "high"}}
    html = show({"per_speaker": speakers}, None)
    assert "1 speakers, 50.0 % to 50.0 %" in html
    assert html.count(SHAPES["D"]) == html.count(SHAPES["s"]) == 1
    assert html.count("all clips") == 0  # of which there is no figure


def test_no_mark_hides_another(measured):
    speakers = {f"{number:02d}": {"accuracy": 0.5 + number / 100, "gender": "male"} for number in range(9)}
    html = show({"per_speaker": speakers | {"same": speakers["03"]}}, None)
    marks = [(float(x), float(y)) for x, y in re.findall(r'<svg x="([\d.]+)%" y="(\d+)">', html)]
    assert len(marks) == 10
    pairs = [(first, second) for place, first in enumerate(marks) for second in marks[:place]]
    # A mark is 9 px wide and high, and a strip on a phone about 260 px.
    assert all(abs(x1 - x2) * 2.6 >= 9 or abs(y1 - y2) >= 9 for (x1, y1), (x2, y2) in pairs)


def test_reliability_diagram_has_a_dot_a_bin_with_its_area_by_the_answers(measured):
    html = show(measured[0], without(measured[1], "calibration"))
    assert html.count('class="ser-diagram"') == 1
    (x1, y1, r1), (x2, y2, r2) = [
        tuple(map(float, circle)) for circle in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', html)
    ]
    scale = (x2 - x1) / (0.72 - 0.31)
    assert (y1 - y2) / (0.81 - 0.26) == pytest.approx(scale, rel=0.01)  # the diagonal is where the two are equal
    assert (r2 / r1) ** 2 == pytest.approx(44 / 11, rel=0.05)
    assert "44 answers, 72.0 % sure, 81.0 % right" in html
    for metrics in measured:
        assert f"on average {100 * metrics['ece']:.1f} points more or less sure than they are right" in html
    assert "Each dot" not in show(*(without(metrics, "calibration") for metrics in measured))


def test_every_drawing_and_scrolling_box_has_a_label(measured):
    tree = Tree(show(*measured))
    drawings = [attributes for attributes in tree.attributes("svg") if "class" in attributes]
    assert len(drawings) == 4
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert "(good)" in attributes["aria-label"] or "(plain)" in attributes["aria-label"]
    strip = drawings[0]["aria-label"]
    accuracies = [group["accuracy"] for group in measured[0]["per_speaker"].values() if group["gender"] == "female"]
    assert f"2 women, {percent(min(accuracies))} to {percent(max(accuracies))}" in strip
    boxes = [attributes for attributes in tree.attributes("div") if attributes.get("class") == "ser-scroll"]
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    assert len(boxes) == 2
    assert all(head["scope"] in ("row", "col") for head in tree.attributes("th"))


def test_models_of_the_hub_are_named_without_their_commit_and_lead_to_their_cards(measured):
    commit = "1a2b3c4d5e" * 4
    html = show(*measured, names=(f"alice/model@{commit}", "alice/baseline"))
    assert "Neural network <br>(alice/model)" in html
    assert commit not in "".join(Tree(html).texts("div"))
    links = [link["href"] for link in Tree(html).attributes("a") if "huggingface.co" in link["href"]]
    assert links == [
        f"https://huggingface.co/alice/model/blob/{commit}/README.md",
        "https://huggingface.co/alice/baseline",
    ]
    assert "On the Hub: the card of alice/model and the card of alice/baseline." in Tree(html).texts("dd")[0]
    assert "On the Hub" not in show(*measured)
    branch = show(*measured, names=("alice/model@refs/pr/1", 'alice/"><b>'))
    assert 'href="https://huggingface.co/alice/model/blob/refs%2Fpr%2F1/README.md"' in branch
    assert "<b>" not in branch.split("On the Hub")[1]


def test_names_labels_and_sentences_are_no_html(measured):
    evil = "<img src=x onerror=alert(1)>"
    metrics = json.loads(json.dumps(measured[0]).replace('"happy"', json.dumps(evil)).replace('"female"', f'"{evil}"'))
    metrics |= {"protocol": evil, "corpora": [evil]}
    metrics["per_speaker"] = {f'{name}"{evil}': group for name, group in metrics["per_speaker"].items()}
    html = show(metrics, {}, (evil, f'"{evil}'))
    assert not Tree(html).attributes("img")
    assert "&lt;img" in html
    assert "Voices are deleted &lt;soon&gt;." in html


def test_labels_of_another_model_are_shown_too(measured):
    other = {"labels": ["joy", "a{0}b"], "confusion_matrix": [[3, 1], [0, 4]]}
    html = show(other, measured[1])
    assert OTHER_SYMBOL in html
    assert "joy as a{0}b, 25 %" in html
    assert rows_of(html)["Chance guessing the label"] == ["50.0 %", "12.5 %"]
    assert rows_of(html)["Macro F1 counts false alarms too"][0] == "not measured"


@pytest.mark.parametrize("nothing", [None, {}, [], "text", {"eval_loss": 0.7}])
def test_model_without_figures_is_said_to_have_none(measured, nothing):
    html = show(nothing, measured[1])
    assert "Neural network (good) has no measured figures" in html
    assert html.count("Baseline (plain) brings") == 0
    assert "good: see the model's own card." in Tree(show(None, None)).texts("dd")[0]
    assert all(len(cells) == 1 for cells in rows_of(html).values())
    neither = show(nothing, nothing)
    assert neither.count("has no measured figures") == 2
    assert "<table" not in neither
    assert "<svg" not in neither
    assert "Art. 5(1)(f)" in neither


@pytest.mark.parametrize("value", ["text", -0.5, float("nan"), [1], {"a": {}}, [[1], [1, 2]]])
def test_metrics_of_another_shape_are_left_out_part_by_part(measured, value):
    for key in measured[0]:
        html = show(measured[0] | {key: value}, None)
        Tree(html)
        assert html.count("has no measured figures") == 1
        assert html.count("nan") == 0
    assert show(dict.fromkeys(measured[0], value), None).count("has no measured figures") == 2


def test_missing_metrics_are_left_out_part_by_part(measured):
    for key in measured[0]:
        html = show(without(measured[0], key), None)
        Tree(html)
        assert html.count("has no measured figures") == 1
        assert html.count("None") == 0


def test_figures_beyond_a_share_are_not_shown(measured):
    html = show(measured[0] | {"macro_f1": 77.0, "ece": 1.5}, None)
    assert not [row for row in rows_of(html) if row.startswith(("Macro", "Calibration"))]
    assert html.count("7700") == 0


def test_word_of_feeling_stands_only_where_it_is_denied(measured):
    text = " ".join(Tree(show(*measured)).texts("div")[0].split())
    assert re.findall(r"[^.;]*\bfe(?:el|lt)\w*[^.;]*", text, re.I) == [" They cannot know what a person feels"]


def test_sources_and_law_are_linked_in_a_new_tab(measured):
    links = Tree(show(*measured)).attributes("a")
    assert {link["href"].split("/")[2] for link in links} == {"doi.org", "creativecommons.org", "eur-lex.europa.eu"}
    assert any(link["href"].endswith("10.5281/zenodo.1188976") for link in links)
    assert all(link["target"] == "_blank" and link["rel"] == "noopener" for link in links)


def test_bundled_models_have_every_part():
    folders = [APP.parent / "models" / name for name in ("ser-whisper", "ser-svm")]
    metrics = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    html = show(*metrics)
    assert html.count("not measured</td>") == 1  # the SVM on left-out corpora
    for class_name in ("ser-figures", "ser-confusion", "ser-strip"):
        assert f'class="{class_name}"' in html


def test_styles_survive_gradio():
    """Gradio splits selectors at commas, also inside of parentheses, and a rule that is cut so wins over the whole."""
    selectors = re.findall(r"([^{}]*){", (APP / "about.css").read_text(encoding="utf-8"))
    assert not [selector for selector in selectors if re.search(r":\w+\([^)]*,", selector.split("*/")[-1])]
