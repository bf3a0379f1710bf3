"""The Space, run alone: with its requirements and no other package, it does for visitors what the page does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
import soundfile
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser_hf.audio import SAMPLE_RATE
from ser_hf.classifier import EmotionClassifier
from tests.app.browser import free_port
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm, save_tiny_whisper
from tests.train.test_publish_space import BASELINE, MODEL, SPACE, copy_project
from train.publishing.space import APP_FILE, PROJECT, build_space, page_requirements

# Carries out, in the Space's folder, what the page does for its visitors, and notes what our modules import meanwhile.
VISIT = """
import builtins, importlib.util, json, shutil, sys
assert not any(map(importlib.util.find_spec, ("datasets", "pytest", "train"))), "not alone"
imported, original = set(), builtins.__import__
def noting(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").split(".")[0] in ("app", "ser_hf") and not level:
        imported.add(name.split(".")[0])
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = noting

from app.analysis import Analyser
from app.app import build_parser
from app.batch import run_batch
from app.limits import Limits
from app.live import hear, start
from app.page import build
from app.plots import recording_figure
from ser_hf.classifier import EmotionClassifier
from ser_hf.models import ModelError

model, baseline, wav, compressed = sys.argv[1:]
analyser = Analyser(*map(EmotionClassifier.from_pretrained, (model, baseline)))
analyser.warm_up()
build(lambda: analyser, Limits())
for file in (wav, compressed):
    answer = analyser.analyse(file)
    explanation = analyser.explain(file, answer)
    recording_figure(explanation.recording.samples, answer, explanation.stretches)
assert run_batch(analyser, [wav, compressed])["answered"] == 2
piece = shutil.copy(wav, wav + ".piece")  # which hearing deletes
hear(start(analyser.model), piece, 60)
try:
    EmotionClassifier.from_pretrained("alice/absent@main")
except ModelError as error:
    assert "cache" in str(error), error
print(json.dumps(sorted(imported)))
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("project"))
    return build_space(tmp_path_factory.mktemp("published") / "space", SPACE, MODEL, BASELINE, project)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return save_tiny_whisper(folder / "tiny-model"), save_tiny_svm(folder / "tiny-baseline")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One recording as soundfile reads it, and one that needs PyAV."""
    import av

    folder = tmp_path_factory.mktemp("clips")
    samples = make_clip("happy")
    soundfile.write(folder / "clip.wav", samples, SAMPLE_RATE)
    with av.open(str(folder / "clip.webm"), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48_000)
        frame = av.AudioFrame.from_ndarray(samples[None].astype("float32"), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return folder / "clip.wav", folder / "clip.webm"


def closure(lines: Iterable[str]) -> set[str]:
    """The installed distributions that pip would install for these requirements, by their canonical names."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            for line in metadata.requires(requirement.name) or []:
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate({"extra": extra}):
                    waiting.append(other)
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def alone(space: Path, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process that finds the Space's requirements, what these require, and no other package."""
    packages = tmp_path_factory.mktemp("packages")
    for name in sorted(closure((space / "requirements.txt").read_text().splitlines())):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    return {
        "PATH": os.defpath,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "SER_HF_MODEL": str(models[0]),
        "SER_HF_BASELINE": str(models[1]),
    }


# Without the site module, this Python's own packages are not found.
ISOLATED = [sys.executable, "-S", "-s"]


@pytest.mark.slow
def test_requirements_suffice_and_all_of_them_are_needed(space, alone, models, clips):
    code = "import sys; sys.path.insert(0, '.')\n" + VISIT
    command = [*ISOLATED, "-c", code, *map(str, models), *map(str, clips)]
    done = subprocess.run(command, cwd=space, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    homes = metadata.packages_distributions()
    imported = {name for top in json.loads(done.stdout.splitlines()[-1]) for name in homes.get(top, [])}
    pinned = {line.split("==")[0] for line in (PROJECT / "requirements.txt").read_text().splitlines() if "==" in line}
    needed = {name for name in pinned if canonicalize_name(name) in map(canonicalize_name, imported)}
    assert needed == page_requirements().keys()


@pytest.mark.slow
def test_space_alone_serves_the_page_and_answers_as_the_classifier_does(space, alone, models, clips, tmp_path):
    """The Space's own files in an empty folder, started as the Hub does."""
    home = tmp_path / "space"
    shutil.copytree(space, home)
    port = free_port()
    variables = alone | {
        "SYSTEM": "spaces",
        "SPACE_ID": SPACE,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "voices"),
    }
    process = subprocess.Popen(
        [*ISOLATED, APP_FILE], cwd=home, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        log = []
        for line in process.stdout:
            log.append(line)
            if "Listening on" in line:
                break
        assert process.poll() is None, "".join(log)
        client = Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
        answer = client.predict(handle_file(str(clips[0])), api_name="/analyze")
        client.close()
    finally:
        process.terminate()
        process.communicate(timeout=60)
    for part, folder in zip(("model", "baseline"), models, strict=True):
        expected = EmotionClassifier.from_pretrained(folder).predict(clips[0])
        assert answer[part]["name"] == folder.name
        assert answer[part]["label"] == expected.label
        assert answer[part]["scores"] == pytest.approx(expected.scores, abs=1e-5)


@pytest.mark.slow
def test_model_that_cannot_be_fetched_is_said_in_the_log(space, alone):
    variables = {name: value for name, value in alone.items() if name not in ("SER_HF_MODEL", "SER_HF_BASELINE")}
    variables["GRADIO_SERVER_PORT"] = str(free_port())
    done = subprocess.run(
        [*ISOLATED, APP_FILE], cwd=space, env=variables, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert f"Loading {MODEL} and {BASELINE}" in done.stdout
    assert f"The page cannot start: cannot get the model '{MODEL}' from the Hub" in done.stderr
    assert "Traceback" not in done.stderr
