"""The command line of commands whose arguments are dataclasses, and recipes that give its defaults."""

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
from ser_hf.evaluation.runs import RUN
from ser_hf.hub.card_arguments import ARGUMENTS
from ser_hf.utils.names import nearest, unknown_name
from train.common import UsageError, argument_help

# Arguments that say where one run writes and what becomes of it, and not what it computes.
OF_ONE_RUN = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "run_name", "logging_dir", "local_rank"}


class RecipeParser(CommandParser, HfArgumentParser):
    """The command line of a command whose arguments are dataclasses, and whose defaults a ``--recipe`` may give.

    Its help groups the options by dataclass. Those that a dataclass inherits from another library, as
    FinetuneTrainingArguments has a hundred of `transformers.TrainingArguments`, are shown by ``--help_all`` alone.

    Args:
        dataclass_types: each may name its group of options as ``_argument_group_name``. A field without a text has that
            of `ser_hf.hub.card_arguments.ARGUMENTS`.
        prog: the command, as ``python -m train.baseline``.
        doc: the docstring of its module (see `CommandParser`).
        show_all: show inherited options.
    """

    def __init__(self, dataclass_types: Sequence[type], prog: str, doc: str | None, show_all: bool = False) -> None:
        super().__init__(dataclass_types, prog=prog, doc=doc, usage=f"{prog} [--recipe F] [OPTIONS]")
        text = "YAML or JSON file of arguments by name, or a run's run.json to repeat it; the command line wins."
        self.add_argument("--recipe", metavar="F", help=text)
        own = {name for one in dataclass_types for name in one.__annotations__}
        inherited = {one.name for kind in dataclass_types for one in dataclasses.fields(kind)} - own
        for action in self._actions:
            if action.help is None and action.dest in ARGUMENTS:
                action.help = argument_help(action.dest)
            # "--no_calibrate" is "--calibrate false", which stands before it.
            if not show_all and (action.dest in inherited or (action.nargs == 0 and action.const is False)):
                action.help = argparse.SUPPRESS
        if inherited:
            text = f"list the other {len(inherited)} options, too, which are those of transformers' TrainingArguments"
            self.add_argument("--help_all", action="help", help=text)

    def set_recipe(self, recipe: str) -> None:
        """Make the values of a recipe the defaults.

        Raises:
            UsageError: the recipe cannot be read, is no mapping, or names an argument or a choice that does not exist.
        """
        actions = {action.dest: action for action in self._actions}
        for name, value in read_recipe(recipe).items():
            if name not in actions and Path(recipe).name == RUN:
                print(f"note: {recipe}: --{name} no longer exists, its value {value} is left out", file=sys.stderr)
                continue
            if name not in actions:
                near = nearest(name, actions)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"{recipe}: there is no argument {name!r}{hint}")
            choices = actions[name].choices  # argparse checks the words of a command line alone
            if choices is not None and value is not None and value not in choices:
                raise UsageError(f"{recipe}: {unknown_name(name, value, choices)}")
            self.set_defaults(**{name: value})
            actions[name].required = False


def parse_arguments(
    dataclass_types: Sequence[type], argv: Sequence[str] | None = None, prog: str = "train", doc: str | None = None
) -> tuple:
    """Parse a command line whose defaults come from an optional ``--recipe`` file; see `RecipeParser`.

    Args:
        argv: the words after the command (default: those of this process).

    Raises:
        UsageError: see `RecipeParser.set_recipe`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = RecipeParser(dataclass_types, prog, doc, show_all="--help_all" in argv)
    # Read before the rest, because a recipe may give what the command line would otherwise have to.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe")
    if recipe := first.parse_known_args(argv)[0].recipe:
        parser.set_recipe(recipe)
    # The last two are what is no dataclass's, and the words that nothing took.
    *parsed, _, rest = parser.parse_args_into_dataclasses(argv, True, look_for_args_file=False)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return tuple(parsed)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe file (.yaml, .yml or .json) as a dict.

    A recipe that differs in little from another beside it names that one as ``extends``, and then only what differs.
    The ``run.json`` of a run folder is one, too: with it the run is repeated.

    Raises:
        UsageError: it cannot be read or is no mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror or error}") from None
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the recipe {path} is not valid: {error}") from None
    if isinstance(values, dict) and path.name == RUN:
        values = values.get("arguments")
    if not isinstance(values, dict):
        raise UsageError(f"the recipe {path} must map argument names to values")
    if path.name == RUN:
        left_out = ("hub_", "push_to_hub")
        return {n: value for n, value in values.items() if n not in OF_ONE_RUN and not n.startswith(left_out)}
    if "extends" in values:
        base = path.parent / str(values.pop("extends"))
        if base.resolve() == path.resolve():
            raise UsageError(f"the recipe {path} extends itself; name another one")
        values = read_recipe(base) | values
    return values
