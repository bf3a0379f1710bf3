"""The Dockerfile: what it promises, and its steps carried out in an empty folder, which needs no container engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import soundfile
from gradio_client import Client, handle_file

from app.app import PORT
from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL
from tests.app.browser import free_port
from tests.synthetic import make_clip

REPOSITORY = Path(__file__).resolve().parent.parent
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
IGNORE = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
NOBODY = 65534  # user and group, of every Linux


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in their order, without comments and with continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, arguments) for name, arguments in (line.split(maxsplit=1) for line in joined.splitlines())]


STEPS = instructions()


def arguments(name: str) -> list[str]:
    """The arguments of every instruction of that name."""
    return [value for step, value in STEPS if step == name]


def place(name: str, start: str = "") -> int:
    """Which instruction is the one of that name whose arguments begin so."""
    places = [i for i, (step, value) in enumerate(STEPS) if step == name and value.startswith(start)]
    assert len(places) == 1, f"{len(places)} instructions {name} {start}"
    return places[0]


def copies() -> Iterator[tuple[list[str], str]]:
    """(sources, destination) of every COPY."""
    for value in arguments("COPY"):
        *sources, destination = shlex.split(value)
        yield sources, destination


def environment() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(pair.split("=", 1) for value in arguments("ENV") for pair in shlex.split(value))


def command(text: str) -> list[str]:
    """The words of a command in exec form: no shell stands between the engine's signals and the program."""
    return json.loads(text)


def health_check() -> list[str]:
    return command(arguments("HEALTHCHECK")[0].split(" CMD ")[1])


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the builder: the last pattern that fits says so.

    Knows the two kinds of pattern that are used: a name at the top, and ``**/`` with a name at any depth.
    """
    parts, out = PurePosixPath(path).parts, False
    for line in IGNORE:
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        assert "/" not in pattern.removeprefix("**/"), f".dockerignore: the test does not know patterns like {line}"
        names = parts if pattern.startswith("**/") else parts[:1]
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            out = not line.startswith("!")
    return out


def test_base_image_is_slim_pinned_and_as_new_as_the_project_asks():
    (base,) = arguments("FROM")
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim-(bookworm|trixie)", base)
    assert version, base
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=").split(".")
    assert [int(part) for part in version.groups()[:2]] >= [int(part) for part in oldest]


def test_copies_what_is_there_and_the_builder_gets_nothing_else():
    copied = {source for sources, _ in copies() for source in sources}
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert not ignored(source), source
    assert {line.removeprefix("!") for line in IGNORE if line.startswith("!")} == copied


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "runs/svm-actor/run.json",
        "data/ravdess/Actor_01/clip.wav",
        "reports/comparison.md",
        "tests/conftest.py",
        "train/finetune.py",
        "app/__pycache__/app.cpython-311.pyc",
        "ser_hf/models/__pycache__/neural.cpython-311.pyc",
        "app/.gradio/certificate.pem",
        "secrets.env",
    ],
)
def test_what_the_page_does_not_need_stays_outside(path):
    assert ignored(path)


def test_change_of_the_code_installs_nothing_anew():
    install = place("RUN", "python -m pip install")
    assert STEPS[install][1].endswith(" -r requirements.txt")
    assert place("COPY", "requirements.txt") < install
    for folder in ("models", "ser_hf", "app"):
        assert install < place("COPY", folder)


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_who_builds_can_say_where_pip_looks(variable):
    assert place("ARG", variable) < place("RUN", "python -m pip install")


def test_page_runs_as_a_user_who_may_write_to_caches_and_uploads_only():
    user, home = new_user()
    assert int(user) > 0
    assert place("RUN", "useradd") < place("USER", user) < place("CMD")
    assert not any("--chown" in value for value in arguments("COPY"))  # what is copied is root's
    variables = environment()
    assert variables["HOME"] == home
    for name in ("HF_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert variables[name].startswith(f"{home}/")
    # Not in the folder that is kept in a volume: uploaded voices end with the container.
    assert variables["GRADIO_TEMP_DIR"].startswith("/tmp/")


def new_user() -> tuple[str, str]:
    """Number and home of the user that the image makes."""
    words = shlex.split(STEPS[place("RUN", "useradd")][1])
    return words[words.index("--uid") + 1], words[words.index("--home-dir") + 1]


def test_port_is_the_one_of_the_page():
    variables = environment()
    assert arguments("EXPOSE") == [str(PORT)]
    assert variables["GRADIO_SERVER_PORT"] == str(PORT)
    assert variables["GRADIO_SERVER_NAME"] == "0.0.0.0"  # the container's own 127.0.0.1 nobody reaches
    assert "os.environ['GRADIO_SERVER_PORT']" in health_check()[-1]


def test_container_does_what_make_demo_does():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    demo = re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)$", makefile, re.MULTILINE)
    assert command(arguments("CMD")[0]) == shlex.split(demo[1])


def test_nothing_is_fetched_past_pip_and_nothing_is_secret():
    names = {name for name, _ in STEPS}
    assert "ADD" not in names
    text = " ".join(value for _, value in STEPS)
    assert re.findall(r"https?://[^']*", text) == ["http://127.0.0.1:"]
    assert "latest" not in text
    assert not re.search(r"token|secret|password|_key", text, re.IGNORECASE)


def test_readme_says_the_same_commands_and_limits_that_there_are():
    commands = re.findall(r"^#   (docker .*)$", DOCKERFILE, re.MULTILINE)
    assert [line.split()[1] for line in commands] == ["build", "run"]
    assert f":{PORT}:{PORT} " in commands[1]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "\n## Host it yourself\n" in readme
    section = readme.split("\n## Host it yourself\n")[1].split("\n## ")[0]
    for line in commands:
        assert f"\n    {line}\n" in section
    examples = dict(re.findall(r"(SER_HF_LIMIT_\w+)=(\w+)", section))
    assert examples
    assert Limits.from_environment(examples) != Limits()


def carry_out(image: Path) -> tuple[Path, dict[str, str], list[str]]:
    """Do in a folder what the Dockerfile does in an image, but for pip: this Python has the requirements.

    Returns:
        The folder to run in, the environment, and the words that go before a command so that the image's user runs it.
    """
    work = image / arguments("WORKDIR")[0].strip("/")
    for sources, destination in copies():
        for source in map(REPOSITORY.joinpath, sources):
            for file in [source] if source.is_file() else filter(Path.is_file, source.rglob("*")):
                name = file.relative_to(REPOSITORY)
                if not ignored(name.as_posix()):
                    # A folder's contents are copied, a file into the folder.
                    target = work / destination / file.relative_to(source if source.is_dir() else source.parent)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)
    temporary, home = image / "tmp", image / new_user()[1].strip("/")
    for folder in (temporary, home):
        folder.mkdir()
    temporary.chmod(0o1777)
    variables = {
        name: str(image / value.strip("/")) if value.startswith("/") else value for name, value in environment().items()
    }
    variables |= {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "TMPDIR": str(temporary),
        "GRADIO_SERVER_PORT": str(free_port()),
        "PYTHONDONTWRITEBYTECODE": "1",  # whoever tests without being root owns the copied files
        "http_proxy": "http://127.0.0.1:9",  # nobody listens there: all that goes elsewhere fails
        "https_proxy": "http://127.0.0.1:9",
    }
    return work, variables, _as_nobody(home) if os.geteuid() == 0 else []


def _as_nobody(home: Path) -> list[str]:
    """Root runs the page as nobody, who owns the home and nothing else.

    Of root's rights nobody keeps that of reading, as this Python may lie in a folder that is closed to others.
    """
    os.chown(home, NOBODY, NOBODY)
    rights = "-all,+dac_read_search"
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    return ["setpriv", *user, *(f"--{kind}={rights}" for kind in ("inh-caps", "ambient-caps", "bounding-set"))]


def files_below(folder: Path) -> dict[str, int]:
    """Every file and when it was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_page_runs_alone_as_its_user_answers_and_ends_cleanly(tmp_path):
    soundfile.write(tmp_path / "clip.wav", make_clip("happy"), SAMPLE_RATE)
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="ser_hf-image-") as name, (tmp_path / "log").open("w") as log:
        image = Path(name)
        image.chmod(0o755)
        work, variables, as_user = carry_out(image)
        copied = files_below(work)
        address = f"http://127.0.0.1:{variables['GRADIO_SERVER_PORT']}"

        def healthy() -> bool:
            check = [*as_user, *health_check()]
            return subprocess.run(check, cwd=work, env=variables, capture_output=True, check=False).returncode == 0

        assert not healthy()
        page = subprocess.Popen(
            [*as_user, *command(arguments("CMD")[0])], cwd=work, env=variables, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            for _ in range(300):  # seconds: far more than it takes, so that a slow machine does not fail
                if page.poll() is not None or healthy():
                    break
                time.sleep(1)
            assert page.poll() is None, (tmp_path / "log").read_text()
            client = Client(address, verbose=False, analytics_enabled=False)
            answer = client.predict(handle_file(str(tmp_path / "clip.wav")), api_name="/analyze")
            client.close()
            assert answer["file"] == "clip.wav"
            assert answer["model"]["name"] == DEFAULT_MODEL.name
            assert answer["baseline"]["name"] == DEFAULT_BASELINE.name
            assert list(Path(variables["GRADIO_TEMP_DIR"]).rglob("clip.wav"))
            page.send_signal(signal.SIGTERM)
            assert page.wait(timeout=60) == 0
        finally:
            page.kill()
        assert files_below(work) == copied
