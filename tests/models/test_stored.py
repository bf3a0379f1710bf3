"""Stored pipelines that were damaged or forged: a ModelError or an answer, never a crash."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.models import ModelError
from ser_hf.models.stored import TREES, dump_pipeline, load_pipeline
from ser_hf.models.trees import LEAF, check_trees, pack_trees, unpack_trees

NAMES = [f"feature{index}" for index in range(6)]
CLASSIFIERS = {
    "svm": SVC(C=5, class_weight="balanced", break_ties=True),
    "knn": KNeighborsClassifier(5, algorithm="brute"),
    "decision-tree": DecisionTreeClassifier(class_weight="balanced", random_state=0),
    "random-forest": RandomForestClassifier(5, class_weight="balanced", random_state=0),
    "gradient-boosting": HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, random_state=0),
}
TREE_MODELS = ["decision-tree", "random-forest", "gradient-boosting"]


def make_rows(n_labels=3, n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % n_labels
    centres = np.random.default_rng(1).normal(0, 2, (n_labels, len(NAMES)))
    rows = centres[labels] + rng.normal(size=(n_rows, len(NAMES)))
    return pd.DataFrame(rows.astype(np.float32), columns=NAMES), labels


def make_pipeline(kind, n_labels=3):
    steps = [
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
        ("scale", StandardScaler()),
        ("model", clone(CLASSIFIERS[kind])),
    ]
    return Pipeline(steps).fit(*make_rows(n_labels))


def answers(pipeline, rows):
    method = "decision_function" if hasattr(pipeline, "decision_function") else "predict_proba"
    return getattr(pipeline, method)(rows)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    for kind in CLASSIFIERS:
        dump_pipeline(make_pipeline(kind), folder / f"{kind}.skops")
    return folder


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_stored_pipeline_answers_exactly_as_before(kind, n_labels, tmp_path):
    pipeline = make_pipeline(kind, n_labels)
    rows = make_rows(n_labels, seed=5)[0]
    rows.iloc[::4, 2] = np.nan
    expected = answers(pipeline, rows)
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    np.testing.assert_array_equal(answers(pipeline, rows), expected)  # and is left as it was
    assert skops.io.get_untrusted_types(file=tmp_path / "pipeline.skops") == []
    loaded = load_pipeline(tmp_path / "pipeline.skops", NAMES, n_labels)
    np.testing.assert_array_equal(answers(loaded, rows), expected)
    np.testing.assert_array_equal(loaded.predict(rows), pipeline.predict(rows))


@pytest.mark.parametrize("kind", TREE_MODELS)
def test_file_holds_numbers_and_no_tree(files, kind):
    with zipfile.ZipFile(files / f"{kind}.skops") as archive:
        schema = archive.read("schema.json").decode()
    assert "sklearn.tree._tree" not in schema
    assert "TreePredictor" not in schema


def test_file_with_a_real_tree_is_refused(tmp_path):
    path = tmp_path / "pipeline.skops"
    pipeline = make_pipeline("decision-tree")
    for name in ("_fit_dtype", "_fill_dtype"):
        delattr(pipeline["impute"], name)
    skops.io.dump(pipeline, path)
    with pytest.raises(ModelError, match=r"not scikit-learn's own: sklearn\.tree\._tree\.Tree; not loaded"):
        load_pipeline(path, NAMES, 3)


@pytest.mark.parametrize("kind", CLASSIFIERS)
@given(data=st.data())
def test_flipped_byte_gives_an_error_or_the_right_answer(files, kind, data):
    content = bytearray((files / f"{kind}.skops").read_bytes())
    rows = make_rows(seed=5)[0]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path = files / f"{kind}-flipped.skops"
    path.write_bytes(content)
    try:
        loaded = load_pipeline(path, NAMES, 3)
    except ModelError:
        return
    expected = answers(load_pipeline(files / f"{kind}.skops", NAMES, 3), rows)
    np.testing.assert_array_equal(answers(loaded, rows), expected)


def forge(path, to, seed):
    """Change bytes inside the arrays and numbers inside the schema, and pack them again with right checksums."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    arrays = sorted(name for name in members if name.endswith(".npy"))
    for name in rng.choice(arrays, size=rng.integers(1, 3)):
        array = np.load(io.BytesIO(members[name]))
        if not array.size:
            continue
        flat = array.ravel().copy()
        places = rng.integers(flat.size, size=rng.integers(1, 4))
        if rng.random() < 0.3:  # other numbers, such as those beside a bound
            flat[places] = rng.choice([-(2**31), -2, -1, 0, 1, 2, 5, 6, 7, 1000, 2**31 - 1], size=len(places)).astype(
                flat.dtype
            )
        elif rng.random() < 0.2:  # another shape
            flat = flat[: rng.integers(flat.size + 1)]
            array = flat
        else:  # any bytes
            raw = flat.view(np.uint8)
            raw[rng.integers(raw.size, size=3)] = rng.integers(256, size=3)
        buffer = io.BytesIO()
        np.save(buffer, flat.reshape(array.shape))
        members[name] = buffer.getvalue()
    if rng.random() < 0.3:
        schema = bytearray(members["schema.json"])
        digits = [place for place, value in enumerate(schema) if chr(value).isdigit()]
        for place in rng.choice(digits, size=2):
            schema[place] = ord(str(rng.integers(10)))
        members["schema.json"] = bytes(schema)
    with zipfile.ZipFile(to, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


FORGE = """
import sys, warnings
from pathlib import Path
import numpy as np
from ser_hf.models import ModelError
from ser_hf.models.stored import load_pipeline
from tests.models.test_stored import NAMES, answers, forge, make_rows

warnings.simplefilter("ignore")
path, count = Path(sys.argv[1]), int(sys.argv[2])
rows = make_rows(seed=5)[0]
refused = answered = 0
for seed in range(count):
    forged = path.with_name(f"{path.stem}-forged.skops")
    forge(path, forged, seed)
    print("seed", seed, flush=True)  # so that a crash says which
    try:
        loaded = load_pipeline(forged, NAMES, 3)
    except ModelError:
        refused += 1
        continue
    assert answers(loaded, rows).shape == (len(rows), 3)
    answered += 1
print("refused", refused, "answered", answered)
"""


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_forged_file_never_crashes(files, kind):
    """In a process of its own, because scikit-learn would end it where a check is missing."""
    command = [sys.executable, "-c", FORGE, str(files / f"{kind}.skops"), "150"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout[-100:]} {done.stderr[-2000:]}"
    _, refused, _, answered = done.stdout.splitlines()[-1].split()
    assert int(refused) > 20
    assert int(answered) > 5


def change(name, place, value):
    def apply(packed):
        packed[name][place] = value

    return apply


def replace(name, value):
    def apply(packed):
        packed[name] = value(packed[name])

    return apply


def leaf_with_a_child(packed):
    packed["left"][np.flatnonzero(packed["feature"] == LEAF)[0]] = 1


def two_parents(packed):
    packed["right"][0] = packed["left"][0]


def child_in_the_next_tree(packed):
    packed["right"][0] = packed["sizes"][0]


def way_back(packed):
    inner = np.flatnonzero(packed["feature"] != LEAF)
    packed["left"][inner[-1] if inner[-1] < packed["sizes"][0] else inner[1]] = 0


@pytest.mark.parametrize(
    ("forge_trees", "message"),
    [
        (lambda packed: packed.pop("left"), "no valid 'left'"),
        (replace("right", lambda array: array.tolist()), "no valid 'right'"),
        (replace("feature", lambda array: array.astype(float)), "no valid 'feature'"),
        (replace("threshold", lambda array: array[:, np.newaxis]), "no valid 'threshold'"),
        (replace("left", lambda array: array[:-1]), "not what the sizes of the trees say"),
        (replace("right", lambda array: array[:-1]), "different lengths"),
        (change("sizes", 0, 0), "not what the sizes of the trees say"),
        (change("sizes", 0, 2**31 - 1), "not what the sizes of the trees say"),
        (change("feature", 0, len(NAMES)), "not among the 6"),
        (change("feature", 0, -2), "not among the 6"),
        (change("left", 0, 0), "does not come after it"),
        (change("left", 0, 2**31 - 1), "does not come after it"),
        (change("right", 0, LEAF), "does not come after it"),
        (way_back, "does not come after it"),
        (child_in_the_next_tree, "does not come after it"),
        (two_parents, "no parent, or more than one"),
        (leaf_with_a_child, "a leaf has children"),
        (change("threshold", 0, np.nan), "threshold is not finite"),
        (change("values", (0, 0), np.nan), "finite values"),
        (replace("values", lambda array: array[:-1]), "finite values"),
    ],
)
@pytest.mark.parametrize("kind", TREE_MODELS)
def test_forged_trees_are_refused_in_words(kind, forge_trees, message):
    model = make_pipeline(kind)["model"]
    packed = pack_trees(model)
    forge_trees(packed)
    with pytest.raises(ValueError, match=message):
        unpack_trees(model, packed, len(NAMES), model.classes_)


@pytest.mark.parametrize("kind", ["decision-tree", "random-forest"])
def test_leaves_must_hold_probabilities(kind):
    model = make_pipeline(kind)["model"]
    for value in (-0.5, 0.7):
        packed = pack_trees(model)
        packed["values"][0] = [value, 0.1, 0.1]
        with pytest.raises(ValueError, match="no probabilities"):
            unpack_trees(model, packed, len(NAMES), model.classes_)


def test_number_of_trees_must_fit_the_model():
    tree, forest, boosted = (make_pipeline(kind)["model"] for kind in TREE_MODELS)
    with pytest.raises(ValueError, match="one tree, not 5"):
        unpack_trees(tree, pack_trees(forest), len(NAMES), tree.classes_)
    with pytest.raises(ValueError, match="finite values"):
        unpack_trees(boosted, pack_trees(forest), len(NAMES), boosted.classes_)
    packed = {**pack_trees(boosted), "baseline": np.zeros(4)}
    with pytest.raises(ValueError, match="does not have 15 trees"):
        unpack_trees(boosted, packed, len(NAMES), np.arange(4))
    for baseline in (np.zeros(2), [0.0, 0.0, 0.0], np.full(3, np.inf)):
        packed = {**pack_trees(boosted), "baseline": baseline}
        with pytest.raises(ValueError, match=r"to begin with|begins with no number"):
            unpack_trees(boosted, packed, len(NAMES), boosted.classes_)


@given(seed=st.integers(0, 50), depth=st.integers(1, 12))
def test_trees_that_were_grown_are_valid_and_come_back(seed, depth):
    rows, labels = make_rows(seed=seed)
    model = DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(rows.to_numpy(), labels)
    packed = pack_trees(model)
    check_trees(packed, len(NAMES), 3, probabilities=True)
    back = unpack_trees(model, packed, len(NAMES), model.classes_)
    probe = make_rows(seed=seed + 1)[0].to_numpy()
    np.testing.assert_array_equal(back.predict_proba(probe), model.predict_proba(probe))
    np.testing.assert_array_equal(back.apply(probe), model.apply(probe))
    assert (back.decision_path(probe) != model.decision_path(probe)).nnz == 0


def forged(pipeline, **attributes):
    """A stored pipeline some attributes of whose classifier are others."""
    for name, value in attributes.items():
        setattr(pipeline["model"], name, value)
    return pipeline


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("svm", {"_n_support": np.array([1, 1, 1], np.int32)}, "does not count its support vectors"),
        ("svm", {"_n_support": np.array([1, 1], np.int32)}, "_n_support of SVC"),
        ("svm", {"_dual_coef_": np.zeros((1, 3))}, "_dual_coef_ of SVC"),
        ("svm", {"_intercept_": np.zeros(2)}, "_intercept_ of SVC"),
        ("svm", {"support_": np.zeros(1, np.int32)}, "support_ of SVC"),
        ("svm", {"support_vectors_": np.zeros((4, 2))}, "support_vectors_ of SVC"),
        ("svm", {"_gamma": float("nan")}, "_gamma of SVC"),
        ("svm", {"kernel": "precomputed"}, "kernel='precomputed' is not known"),
        ("svm", {"decision_function_shape": "ovo"}, "decision_function_shape='ovo'"),
        ("knn", {"_y": np.full(60, 7)}, "labels of the neighbours"),
        ("knn", {"_y": np.zeros(3, int)}, "_y of KNeighborsClassifier"),
        ("knn", {"n_neighbors": 61}, "61 neighbours"),
        ("knn", {"n_neighbors": 0}, "0 neighbours"),
        ("knn", {"weights": "none"}, "weighted 'none'"),
        ("knn", {"metric": "mahalanobis"}, "metric='mahalanobis'"),
        ("knn", {"_fit_X": np.full((60, 6), np.nan)}, "_fit_X of KNeighborsClassifier"),
        ("knn", {"_fit_X": np.zeros((60, 5))}, "_fit_X of KNeighborsClassifier"),
        ("svm", {"classes_": np.array([0, 1, 5])}, "answers 3 labels"),
    ],
)
def test_forged_classifier_is_refused_in_words(kind, attributes, message, tmp_path):
    dump_pipeline(forged(make_pipeline(kind), **attributes), tmp_path / "pipeline.skops")
    with pytest.raises(ModelError, match=message):
        load_pipeline(tmp_path / "pipeline.skops", NAMES, 3)


@pytest.mark.parametrize(
    ("step", "attributes", "message"),
    [
        ("impute", {"statistics_": np.full(6, np.nan)}, "statistics_ of SimpleImputer"),
        ("impute", {"statistics_": np.zeros(5)}, "statistics_ of SimpleImputer"),
        ("scale", {"mean_": np.zeros(7)}, "mean_ of StandardScaler"),
        ("scale", {"scale_": np.zeros(6)}, "scale_ of StandardScaler is not above zero"),
        ("impute", {"feature_names_in_": np.array(["other"] * 6, dtype=object)}, "fitted on other features"),
    ],
)
def test_forged_preparation_is_refused_in_words(step, attributes, message, tmp_path):
    pipeline = make_pipeline("svm")
    for name, value in attributes.items():
        setattr(pipeline[step], name, value)
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    with pytest.raises(ModelError, match=message):
        load_pipeline(tmp_path / "pipeline.skops", NAMES, 3)


def test_what_a_file_adds_to_its_objects_is_not_taken_over(tmp_path):
    pipeline = forged(make_pipeline("decision-tree"), predict_proba="ours", n_features_in_=2, tag="extra")
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    loaded = load_pipeline(tmp_path / "pipeline.skops", NAMES, 3)
    assert callable(loaded["model"].predict_proba)
    assert not hasattr(loaded["model"], "tag")
    assert not hasattr(loaded["model"], TREES)
    assert loaded["model"].n_features_in_ == len(NAMES)


def test_forest_of_a_whole_corpus_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"feature{index}" for index in range(1080)]
    rows = pd.DataFrame(rng.normal(size=(1440, len(names))).astype(np.float32), columns=names)
    model = RandomForestClassifier(20, class_weight="balanced", random_state=0)  # noise: the largest trees there can be
    steps = [("impute", SimpleImputer(keep_empty_features=True)), ("scale", StandardScaler()), ("model", model)]
    pipeline = Pipeline(steps).fit(rows, np.arange(1440) % 8)
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    assert (tmp_path / "pipeline.skops").stat().st_size < 1.5e6  # a tenth of the trees, a tenth of 15 MB
    assert json.loads(zipfile.ZipFile(tmp_path / "pipeline.skops").read("schema.json"))
