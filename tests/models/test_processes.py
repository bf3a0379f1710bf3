"""Models in forked workers, in threads and as pickles: the predictions of one process, and no hang."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ser_hf import EmotionClassifier
from ser_hf.models.building import create_model
from ser_hf.models.familiarity import fit_familiarity, save_familiarity
from ser_hf.models.neural import load_neural, output_layer, save_neural
from ser_hf.models.onnx_model import export_onnx
from ser_hf.models.scratch import create_from_scratch
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_svm, save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parents[2]
CLIPS = [make_clip(label, actor, seconds=1.2) for label in ("happy", "sad", "angry") for actor in (1, 2)]
CLIPS.append(np.concatenate([make_clip("calm"), make_clip("sad"), make_clip("happy")]))  # several windows
KINDS = ("whisper", "onnx", "svm", "knn", "wav2vec2", "cnn", "bfloat16")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    whisper = save_tiny_whisper(root / "whisper")
    states = load_neural(whisper).mean_states(CLIPS[:6], 1)
    save_familiarity(fit_familiarity(states, np.arange(6) % 3, 1), whisper)
    export_onnx(whisper)
    wav2vec2 = create_model(save_tiny_base("wav2vec2", root / "base"))
    output_layer(wav2vec2[0]).weight.data.normal_()
    return {
        **dict.fromkeys(("whisper", "onnx", "bfloat16"), whisper),
        "svm": save_tiny_svm(root / "svm"),
        "knn": save_tiny_svm(root / "knn", family="knn"),
        "wav2vec2": save_neural(*wav2vec2, root / "wav2vec2"),
        "cnn": save_neural(*create_from_scratch("cnn", hidden_size=16), root / "cnn"),
    }


def load(kind, folders):
    options = {"onnx": {"runtime": "onnx"}, "bfloat16": {"precision": "bfloat16"}}.get(kind, {})
    return EmotionClassifier.from_pretrained(folders[kind], **options)


def embeddings(classifier):
    return classifier.embed(CLIPS[:2]) if hasattr(classifier.model, "embeddings") else np.zeros(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy], ids=["pickle", "copy"])
def test_classifier_is_copied_before_and_after_use(kind, copied, folders):
    classifier = load(kind, folders)
    before = copied(classifier)
    expected = [one.to_dict() for one in classifier.predict_many(CLIPS)]
    vectors = embeddings(classifier)
    for found in (before, copied(classifier)):
        assert [one.to_dict() for one in found.predict_many(CLIPS)] == expected
        np.testing.assert_array_equal(embeddings(found), vectors)


FORKING = """
import multiprocessing, os, signal, sys
import numpy as np, torch
from datasets import Dataset
from tests.models.test_processes import CLIPS, load


def scores(row):
    return {"scores": list(classifier.predict(CLIPS[row["index"]]).scores.values())}


def of_all(index):
    return [list(one.scores.values()) for one in classifier.predict_many(CLIPS)]


signal.alarm(300)  # a hang ends here
torch.set_num_threads(2)
for kind, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    classifier, found = load(kind, {kind: folder}), []
    for _ in ("loaded", "used"):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found += pool.map(of_all, range(2))
        found.append(of_all(0))
    found.append(Dataset.from_dict({"index": list(range(len(CLIPS)))}).map(scores, num_proc=2)["scores"][:])
    assert np.abs(np.array(found[0]) - found[0][0]).max() > 1e-4
    for rows in found:
        np.testing.assert_allclose(rows, found[0], atol=1e-5)
    child = os.fork()
    if child == 0:
        sys.exit(3)  # as a worker of a server ends
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""


def test_forked_workers_predict_as_their_parent(folders):
    """In a process of its own, because what is tested depends on which threads a process has started."""
    models = [word for kind in ("whisper", "onnx", "knn") for word in (kind, str(folders[kind]))]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FORKING, *models], cwd=REPOSITORY, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("kind", ["whisper", "onnx", "svm"])
def test_threads_and_tasks_predict_as_one_process(kind, folders):
    classifier = load(kind, folders)
    expected = [one.label for one in classifier.predict_many(CLIPS)]
    with ThreadPoolExecutor(8) as pool:
        assert [one.label for one in pool.map(classifier.predict, CLIPS, timeout=60)] == expected

    async def all_at_once():
        tasks = (asyncio.to_thread(classifier.predict, clip) for clip in CLIPS)
        return [one.label for one in await asyncio.wait_for(asyncio.gather(*tasks), 60)]

    assert asyncio.run(all_at_once()) == expected
