"""How recipes and the command line meet: the parser of every command that takes both."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from ser_hf.command_line import CommandParser
from ser_hf.names import nearest, unknown_name
from ser_hf.runs import RUN
from train.common import UsageError

# Arguments that say where one run writes and what becomes of it, and not what it computes.
OF_ONE_RUN = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "run_name", "logging_dir", "local_rank"}


class RecipeParser(CommandParser, HfArgumentParser):
    """The command line of a command whose arguments are dataclasses, and whose defaults a ``--recipe`` may give.

    Its help groups the options by dataclass. Those that a dataclass inherits from another library, as
    FinetuneTrainingArguments has a hundred of `transformers.TrainingArguments`, are shown by ``--help_all`` alone.

    Args:
        dataclass_types: each may name its group of options as ``_argument_group_name``.
        prog: the command, as ``python -m train.baseline``.
        doc: the docstring of its module (see `CommandParser`).
    """

    def __init__(self, dataclass_types: Sequence[type], prog: str, doc: str | None = None) -> None:
        self._hidden: list[tuple[argparse.Action, str | None]] = []
        super().__init__(dataclass_types, prog=prog, doc=doc, usage=f"{prog} [--recipe F] [OPTIONS]")
        self.add_argument(
            "--recipe",
            metavar="F",
            help="YAML or JSON file of arguments by name, or a run's run.json to repeat it; the command line wins.",
        )
        own = {name for one in dataclass_types for name in one.__annotations__}
        inherited = {one.name for kind in dataclass_types for one in dataclasses.fields(kind)} - own
        for action in self._actions:
            # "--no_calibrate" is "--calibrate false", which stands before it.
            if action.dest in inherited or (action.nargs == 0 and action.const is False):
                self._hidden.append((action, action.help))
                action.help = argparse.SUPPRESS
        if inherited:
            names = ", ".join(sorted({kind.__bases__[0].__name__ for kind in dataclass_types} - {"object"}))
            self.add_argument(
                "--help_all",
                action=_HelpAll,
                help=f"list the other {len(inherited)} options, too, which are those of transformers' {names}",
            )

    def show_inherited(self) -> None:
        """Let the help list every option."""
        for action, text in self._hidden:
            action.help = text


class _HelpAll(argparse.Action):
    """Print the help of every option and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, RecipeParser)
        parser.show_inherited()
        parser.print_help()
        parser.exit()


def parse_arguments(
    dataclass_types: Sequence[type], argv: Sequence[str] | None = None, prog: str = "train", doc: str | None = None
) -> tuple:
    """Parse a command line whose defaults come from an optional ``--recipe`` file.

    A recipe is a YAML or JSON mapping of argument names to values; what the command line says wins over it.

    Args:
        dataclass_types, prog, doc: see `RecipeParser`.
        argv: the words after the command (default: those of this process).

    Raises:
        UsageError: the recipe cannot be read, is no mapping, or names an argument that does not exist.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = RecipeParser(dataclass_types, prog, doc)
    # Read before the rest, because a recipe may give what the command line would otherwise have to.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe")
    recipe = first.parse_known_args(argv)[0].recipe
    if recipe:
        values = read_recipe(recipe)
        known = {action.dest for action in parser._actions}
        for name in values:
            if name not in known:
                near = nearest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"{recipe}: there is no argument {name!r}{hint}")
        for action in parser._actions:  # argparse checks the words of a command line alone
            value = values.get(action.dest)
            if action.choices is not None and value is not None and value not in action.choices:
                raise UsageError(f"{recipe}: {unknown_name(action.dest, value, action.choices)}")
        parser.set_defaults(**values)
        for action in parser._actions:
            if action.dest in values:
                action.required = False
    # The last two are what is no dataclass's, and the words that nothing took.
    *parsed, _, rest = parser.parse_args_into_dataclasses(argv, True, look_for_args_file=False)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return tuple(parsed)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe file (.yaml, .yml or .json) as a dict.

    A recipe that differs in little from another beside it names that one as ``extends``, and then only what differs.
    The ``run.json`` of a run folder is one, too: with it the run is repeated.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror or error}") from None
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the recipe {path} is not valid: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"the recipe {path} must map argument names to values")
    if path.name == RUN:
        return _arguments_of_run(path, values)
    if "extends" in values:
        base = path.parent / str(values.pop("extends"))
        if base.resolve() == path.resolve():
            raise UsageError(f"the recipe {path} extends itself; name another one")
        values = read_recipe(base) | values
    return values


def _arguments_of_run(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """What a run was told, but for where it wrote to and whether it went on or was pushed."""
    arguments = run.get("arguments")
    if not isinstance(arguments, dict):
        raise UsageError(f"{path} does not say what its run was told: it has no arguments")
    return {
        name: value
        for name, value in arguments.items()
        if name not in OF_ONE_RUN and not name.startswith(("hub_", "push_to_hub"))
    }
