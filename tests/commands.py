"""Command lines as documents have them, parsed as the commands would parse them, without being carried out."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

# Every module that a person starts.
COMMANDS = (
    *(
        "ser_hf",
        "ser_hf.embed",
        "ser_hf.predict",
        "app.app",
        "docs.licences",
        "docs.pages",
        "docs.screenshots",
    ),
    "tests.qa.load",
    *(f"train.{name}" for name in ("baseline", "compare", "evaluate", "finetune", "publish")),
    *(
        f"experiments.{name}"
        for name in (
            "adaptation",
            "example_clips",
            "first_steps",
            "leaderboard",
            "probe",
            "robustness",
            "search",
            "speed",
            "utterances",
        )
    ),
)
OLD_NAMES = ("train.experiments", "train.leaderboard", "train.robustness")  # of commands of experiments/


# What worked examples add is not here; tests/test_worked_examples.py runs their commands where it is.
WORKED = re.compile(r"^## A new feature group.*?^## ", re.DOTALL | re.MULTILINE)
# Settings of nginx, a test's Python and the list of rooms are indented, too, and no commands.
NO_COMMAND = re.compile(r"location |\}|proxy_|client_max|with HubServer|(app|train|ser_hf|models|tests|notebooks)/ ")

PACKAGES = ("ser_hf",)  # started by their __main__


def module_of(command: str) -> ModuleType:
    """The module that a command starts."""
    return importlib.import_module(f"{command}.__main__" if command in PACKAGES else command)


def parser_of(command: str) -> Callable[[list[str]], Any]:
    """What turns the words after a command into its arguments."""
    module = module_of(command)
    if hasattr(module, "ARGUMENTS"):
        from train.arguments import parse_arguments

        return lambda words: parse_arguments(module.ARGUMENTS, words, f"python -m {command}", module.__doc__)
    return module.build_parser().parse_args


def examples(text: str) -> Iterator[str]:
    """The indented shell lines of a document: continuations joined, comments and what follows --help left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    for line in lines:
        if re.match(r" {4}\S", line):
            yield re.sub(r"\s+#( .*)?$|(?<= --help)\s.*$", "", line.strip())


def check(line: str) -> None:
    """Parse one of our command lines; it fails where the command would refuse its words."""
    words = [word for word in shlex.split(line.split(" > ")[0]) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    if words[0] == "ser-hf":
        words[:1] = ["python", "-m", "ser_hf"]
    assert words[1] == "-m", line
    assert words[2] in COMMANDS, f"{line}: there is no command {words[2]}"
    command, words = words[2], words[3:]
    if command == "ser_hf" and words[0] in ("predict", "embed", "app"):
        command, words = {"predict": "ser_hf.predict", "embed": "ser_hf.embed", "app": "app.app"}[words[0]], words[1:]
    status = 0
    try:
        parser_of(command)(words)
    except SystemExit as exit:
        status = exit.code
    assert status == 0, line
