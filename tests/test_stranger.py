"""What README.md and CONTRIBUTING.md show, carried out as it stands, from the first line down, in a fresh clone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import pytest

from ser_hf import EmotionClassifier
from ser_hf.audio import load_audio
from ser_hf.labels import LABELS
from tests.app.browser import free_port
from tests.commands import NO_COMMAND, WORKED, examples
from tests.local_hub import HubServer, environment, point_client_at
from tests.stranger import REPOSITORY, USER, Stranger, is_free

README, CONTRIBUTING = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
# What goes on until Ctrl+C, and what it has printed when it is there.
SERVERS = {"make demo": "Listening on", ".venv/bin/python -m tests.local_hub": "export HF_ENDPOINT"}
PAGE, HUB_PORT = 7860, 8765

SUITE = "it runs this suite, or a part of it, once more"
RAY = "it makes a cluster of machines: tests/test_scale.py has one of two nodes on this machine"
PROCESSES = "sixty epochs on the real corpus: tests/train/test_distributed.py has the same launchers"
DOCKER = "it needs Docker: tests/test_dockerfile.py carries out the Dockerfile as far as that can be without"
MEASURED = "minutes of a machine that does nothing else: tests/test_benchmarks.py has the same tables of tiny models"
BROWSER = "minutes in a Chromium, which may not be there: tests/app/test_browser.py drives the same page"
NETWORK = "it asks the package index: tests/test_packaging.py installs what it would from here"
PROSE = "named in a sentence, to be filled in: "
# Commands that are not carried out here, and what holds them instead.
NOT_RUN = {
    **dict.fromkeys(
        [
            *("make test", "make test PYTHON=python3.12", "SER_HF_DATA=path/to/data make test"),
            ".venv/bin/python -m pytest tests/test_classifier.py",
            '.venv/bin/python -m pytest -m "not slow and not browser"',
            *("make lint", ".ci/run"),
        ],
        SUITE,
    ),
    **dict.fromkeys(
        [
            *("ray get-auth-token --generate", "ray start --head", "ray start --address HOST:PORT"),
            "python -m ser_hf.predict recordings/ --engine ray --ray_address auto --format parquet "
            "--output predictions/",
            "python -m ser_hf.predict shards/ --engine ray ...",
        ],
        RAY,
    ),
    **dict.fromkeys(
        [
            'docker build -t ser_hf --build-arg PIP_EXTRA_INDEX_URL="$CPU_INDEX" .',
            "docker run --rm -p 127.0.0.1:7860:7860 --memory 2g --cpus 2 ser_hf",
        ],
        DOCKER,
    ),
    **dict.fromkeys(
        [
            "torchrun --nproc_per_node 2 -m train.finetune --recipe train/recipes/cnn.yaml "
            "--per_device_train_batch_size 16",
            "accelerate launch --multi_gpu --num_processes 2 -m train.finetune --recipe train/recipes/cnn.yaml",
        ],
        PROCESSES,
    ),
    "hf auth login": "it asks for a token at the keyboard: HF_TOKEN, named beside it, is what is used here",
    ".venv/bin/python -m app.app": "make demo, which is run, is this line",
    **dict.fromkeys(
        [".venv/bin/python -m docs.screenshots", ".venv/bin/python -m docs.screenshots --all --output F"], BROWSER
    ),
    **dict.fromkeys([".venv/bin/python -m benchmarks.page", "python -m benchmarks.page"], BROWSER),
    **dict.fromkeys(
        [
            *("make bench", 'make bench BENCH_ARGS="--only answer,stages"'),
            *(".venv/bin/python -m benchmarks.exactness", "python -m benchmarks.exactness"),
            ".venv/bin/python -m benchmarks.first_steps --data_dir data",
        ],
        MEASURED,
    ),
    ".venv/bin/python -m tests.app.load --clients 50 --seconds 120": "tests/app/test_load.py has fewer clients",
    ".venv/bin/python -m app.examples.make": "it needs espeak-ng: tests/app/test_examples.py runs it where that is",
    # In sentences.
    **dict.fromkeys(["pip install .", "pip install '.[torch]'", "pip install '.[scale]'", "ser-hf predict"], NETWORK),
    "python -m app.app --model DIR|HUB_ID --baseline DIR|HUB_ID": f"{PROSE}tests/app/test_app.py",
    "python -m app.app --model": f"{PROSE}tests/test_hub_and_back.py",
    "python -m ser_hf.predict --model": f"{PROSE}tests/test_hub_and_back.py",
    "python -m ser_hf --help": "tests/test_main.py runs it",
    "python -m train.robustness": f"{PROSE}tests/train/test_robustness.py",
    "python -m train.experiments": "hours: tests/train/test_experiments.py",
    "python -m experiments.probe": "minutes, on real corpora",
    "make leaderboard": "hours: tests/train/test_leaderboard.py",
    "make audit": "it needs the network: tests/test_audit.py",
    "python -m docs.licences": "tests/docs/test_licences.py runs it",
    "python -m tests.hostile": "tests/test_hostile.py sends the same table",
    "python -m tests.fuzz decoder|names --seconds 600": f"{PROSE}tests/fuzz/test_fuzz.py",
    "python -m tests.train.killed": "minutes: tests/train/test_killed.py kills a few",
    "python -m tests.mutants": "hours, and it runs a part of this suite",
    "python -m tests.trust": "hours: each of its parts has tests of its own",
}


class Line(NamedTuple):
    """A command, and where it stands: what is exported holds to the end of the section."""

    document: str
    section: str
    words: str


def lines_of(document: str, text: str) -> list[Line]:
    return [
        Line(document, section.split("\n")[0], re.sub(r"\s{2,}", " ", words))
        for section in re.split(r"^## ", WORKED.sub("## ", text), flags=re.MULTILINE)
        for words in examples(section)
        if not NO_COMMAND.match(words)
    ]


LINES = [*lines_of("README.md", README), *lines_of("CONTRIBUTING.md", CONTRIBUTING)]
SENTENCES = re.findall(
    r"`((?:python -m [\w.]|pip install |make \w|ser-hf |\.ci/run)[^`]*)`", README + WORKED.sub("## ", CONTRIBUTING)
)


class Walk:
    """A stranger who goes down the documents: what stands above a line was done before, and nothing is done twice."""

    def __init__(self, stranger: Stranger):
        self.stranger = stranger
        self.done: dict[str, subprocess.CompletedProcess[str]] = {}
        self.exports: dict[tuple[str, str], list[str]] = {}

    def to(self, line: Line) -> subprocess.CompletedProcess[str]:
        """Carry out what is not yet done, down to this line; returns what came of it."""
        for one in LINES[: LINES.index(line) + 1]:
            if one.words not in self.done and one.words not in NOT_RUN:
                self.done[one.words] = self._do(one)
        return self.done[line.words]

    def find(self, words: str) -> subprocess.CompletedProcess[str]:
        """As `to`, for the first line that begins so."""
        return self.to(next(line for line in LINES if line.words.startswith(words)))

    def _do(self, line: Line) -> subprocess.CompletedProcess[str]:
        exports = self.exports.setdefault((line.document, line.section), [])
        if line.words in SERVERS:
            port = " --port 0" if "local_hub" in line.words and not is_free(HUB_PORT) else ""
            printed = self.stranger.serve(line.words + port, SERVERS[line.words])
            exports += [text.strip() for text in printed.splitlines() if text.startswith("  export ")]
            return subprocess.CompletedProcess(line.words, 0, printed, "")
        if line.words.startswith("export "):
            exports.append(line.words)
        if line.document == "CONTRIBUTING.md" and (told := re.search(r"--output_dir (\S+)", line.words)):
            made = self.stranger.folder / told[1]
            if made.exists():  # by another line of README.md, for who reads that
                made.rename(f"{made}-of-readme")
        return self.stranger.run("\n".join([*exports, line.words]))


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[HubServer]:
    with HubServer([USER]) as server:
        yield server


@pytest.fixture(scope="module")
def walk(hub, tmp_path_factory) -> Iterator[Walk]:
    stranger = Stranger(tmp_path_factory.mktemp("stranger"), hub)
    if not is_free(PAGE):  # somebody looks at a page of their own
        stranger.environment["GRADIO_SERVER_PORT"] = str(free_port())
    yield Walk(stranger)
    stranger.leave()


def carry_out(walk: Walk, line: Line) -> None:
    done = walk.to(line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for name in re.findall(r"(?: --output(?:_dir)?| >) (\S+)", line.words):
        assert (walk.stranger.folder / name).exists(), name


def run_of(document: str) -> list[Line]:
    return [line for line in LINES if line.document == document and line.words not in NOT_RUN]


def test_every_command_is_run_or_has_its_reason():
    known = {line.words for line in LINES} | NOT_RUN.keys()
    assert not [words for words in SENTENCES if words not in known]
    written = {line.words for line in LINES} | set(SENTENCES)
    assert not NOT_RUN.keys() - written, "reasons for what no document has any more"
    for reason in NOT_RUN.values():
        for name in re.findall(r"tests/\S+\.py", reason):
            assert (REPOSITORY / name).is_file(), reason
    assert SERVERS.keys() <= written


@pytest.mark.slow
@pytest.mark.parametrize("line", run_of("README.md"), ids=lambda line: line.words)
def test_a_line_of_the_readme_does_its_work(walk, line):
    carry_out(walk, line)


@pytest.mark.slow
def test_json_lines_hold_what_the_readme_shows(walk):
    walk.find("python -m ser_hf.predict recordings/ --format jsonl")
    (text,) = re.findall(r"^```json\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    shown = json.loads(text)
    rows = [json.loads(row) for row in (walk.stranger.folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["recordings/changing.wav", "recordings/telephone.wav"]
    for row in rows:
        assert row.keys() == shown.keys()
        assert row["timeline"][0].keys() == shown["timeline"][0].keys()
        assert [*row["scores"]] == [*LABELS]
    assert [*shown["scores"]][:-1] == [*LABELS][: len(shown["scores"]) - 1]
    assert len(rows[0]["timeline"]) > 1
    walk.find("python -m ser_hf.predict recordings/ --model models/ser-svm --format parquet")
    table = pd.read_parquet(walk.stranger.folder / "predictions.parquet")
    assert table["file"].tolist() == [row["file"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["svm", "whisper"])
def test_the_models_of_all_clips_carry_the_figures_of_the_runs_that_are_named(walk, family):
    line = next(line for line in LINES if f"--output_dir runs/{family}-full" in line.words)
    walk.to(line)
    (folder,) = walk.stranger.folder.glob(f"runs/{family}-full*/model")
    named = re.search(r"--reference_run (\S+)", line.words)[1].replace("runs/", "").split(",")
    assert sorted(path.name for path in (folder / "evaluation").iterdir()) == sorted(named)
    assert EmotionClassifier.from_pretrained(folder).predict(walk.stranger.folder / "clip.wav").label in LABELS


def test_there_are_four_blocks_of_python():
    assert len(BLOCKS) == 4


@pytest.mark.slow
def test_the_classifier_shows_what_the_readme_names(walk):
    assert "EmotionClassifier.from_pretrained" in BLOCKS[0]
    ((label, confident, scores, warnings, timeline),) = walk.stranger.show(BLOCKS[0])
    ours = EmotionClassifier.from_pretrained(REPOSITORY / "models" / "ser-whisper")
    prediction = ours.predict(walk.stranger.folder / "clip.wav")
    assert (label, confident) == (prediction.label, prediction.confident)
    assert [*scores] == [*LABELS]
    assert all(isinstance(warning, str) for warning in warnings)
    assert timeline[0].keys() == {"start", "end", "label", "scores"}


@pytest.mark.slow
def test_the_stock_pipeline_gives_the_same_probabilities(walk):
    """With the ffmpeg program on the path, as the block says that it needs."""
    assert "pipeline(" in BLOCKS[1]
    (answers,) = walk.stranger.show(BLOCKS[1])
    ours = EmotionClassifier.from_pretrained(REPOSITORY / "models" / "ser-whisper")
    rows = ours.probabilities([load_audio(walk.stranger.folder / "clip.wav")])
    scores = dict(zip(ours.labels, rows[0].tolist(), strict=True))
    assert len(answers) > 1
    for answer in answers:
        assert answer["score"] == pytest.approx(scores[answer["label"]], abs=1e-4)


def names_in(sentence: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", sentence))


@pytest.mark.slow
def test_the_api_of_the_page_answers_with_what_the_readme_lists(walk):
    printed = walk.find("make demo").stdout
    address = re.search(r"Listening on (http://\S+?)/? ", printed)[1]
    if "GRADIO_SERVER_PORT" not in walk.stranger.environment:
        assert address == f"http://127.0.0.1:{PAGE}"
    analysed, batch = walk.stranger.show(BLOCKS[2].replace(f"http://127.0.0.1:{PAGE}", address))
    told = re.search(
        r"`/analyze` returns (.*?), and for (.*?) each (.*?); a recording that gets no answer returns (.*?)\.\n"
        r"`/batch` returns (.*?)\.\n",
        README,
        re.DOTALL,
    )
    whole, parts, part, refusal, rows = map(names_in, told.groups())
    assert analysed.keys() == whole | parts
    for name in parts:
        assert analysed[name].keys() == part
    assert batch.keys() == rows
    assert (batch["answered"], batch["failed"], len(batch["rows"])) == (3, 0, 3)
    (walk.stranger.folder / "bad.wav").write_text("this is no sound")
    unusable = BLOCKS[2].replace("clip.wav", "bad.wav").replace(f"http://127.0.0.1:{PAGE}", address)
    assert walk.stranger.show(unusable)[0].keys() == refusal


@pytest.mark.slow
def test_what_was_published_comes_back(walk, hub):
    walk.find("python -m train.publish")
    refs = hub.store.get("model", f"{USER}/ser-whisper").refs
    refs["refs/tags/COMMIT"] = refs["refs/heads/main"]  # as the block calls what it pins
    classifier, table = walk.stranger.show(BLOCKS[3])
    assert "EmotionClassifier" in classifier
    assert re.search(r"num_rows: [1-9]", table)


@pytest.mark.slow
@pytest.mark.parametrize("line", run_of("CONTRIBUTING.md"), ids=lambda line: line.words)
def test_a_line_for_contributors_does_its_work(walk, line):
    carry_out(walk, line)
    if "-m pytest" in line.words:
        assert re.search(r"[1-9]\d* passed", walk.to(line).stdout)


@pytest.mark.slow
def test_what_a_test_may_do_with_a_hub_of_its_own(tmp_path, monkeypatch):
    block = re.search(r"^    with HubServer\(.*?\n\n", CONTRIBUTING, re.DOTALL | re.MULTILINE)[0]
    known = {"HubServer": HubServer, "point_client_at": point_client_at, "environment": environment, "os": os}
    exec(textwrap.dedent(block), known | {"tmp_path": tmp_path, "monkeypatch": monkeypatch})
