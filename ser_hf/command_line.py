"""The command lines of all commands: help that begins with what matters, and errors that name the nearest option."""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ser_hf.errors import SerHfError
from ser_hf.utils.names import nearest, unknown_name

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
Main = Callable[[Sequence[str] | None], int | None]


def prints_errors(*failures: type[Exception]) -> Callable[[Main], Callable[..., int]]:
    """Decorate the ``main`` of a command: an error that the user can put right is printed, with its notes.

    Args:
        failures: errors that end the process with status 1; any other SerHfError or OSError ends it with status 2.
    """

    expected: tuple[type[Exception], ...] = (SerHfError, OSError, *failures)

    def decorate(main: Main) -> Callable[..., int]:
        @functools.wraps(main)
        def command(argv: Sequence[str] | None = None) -> int:
            try:
                return main(argv) or 0
            except expected as error:
                print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
                return 1 if isinstance(error, failures) else 2

        return command

    return decorate


@contextlib.contextmanager
def noting(note: str, *kinds: type[Exception]) -> Iterator[None]:
    """Add a note, what to do next, to errors of some kinds."""
    try:
        yield
    except kinds as error:
        error.add_note(note)
        raise


class HelpFormatter(argparse.HelpFormatter):
    """Each option in one spelling and with its default, if it has one; indented lines of a text stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = textwrap.dedent(text).strip("\n").split("\n\n")
        return "\n\n".join(
            part if part.startswith(" ") else textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False)
            for part in paragraphs
        )

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        tells_nothing = action.default is False or action.default in (None, argparse.SUPPRESS, "", [])
        if not text or tells_nothing or not action.option_strings or "default" in text:
            return text
        default = " ".join(map(str, action.default)) if isinstance(action.default, list) else action.default
        if default is True:
            default = "true"
        text, end = (text[:-1], ".") if text.endswith(".") else (text, "")
        return f"{text} (default: {default}){end}".replace("%", "%%") if "%" not in text else text

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        # transformers' parser takes each option with underscores and with hyphens: one of them is enough to read.
        shown = list(dict.fromkeys(option[:2] + option[2:].replace("-", "_") for option in action.option_strings))
        names = ", ".join(shown)
        if action.nargs == 0:
            return names
        return f"{names} {self._format_args(action, self._get_default_metavar_for_optional(action))}"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if getattr(action.type, "__name__", "") == "string_to_bool":  # that of transformers' parser
            return "true|false"
        return next((name for kind, name in METAVARS.items() if action.type is kind), action.dest.upper())


class CommandParser(argparse.ArgumentParser):
    """argparse whose help comes from the command's docstring, and whose errors name the nearest option or choice.

    Args:
        doc: the docstring of the command's module: its first paragraph stands above the options, the others, examples
            (indented) among them, below.
        options: whatever `argparse.ArgumentParser` takes besides.
    """

    def __init__(self, *positional: Any, doc: str | None = None, **options: Any) -> None:
        if doc is not None:
            first, _, rest = doc.strip().partition("\n\n")
            options |= {"description": first, "epilog": rest}
        options["formatter_class"] = HelpFormatter
        super().__init__(*positional, **options)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, but that the process ends with status 2 and a message where an option is not known.

        That comes first: a mistyped required option is reported as mistyped, not as missing.
        """
        words = list(sys.argv[1:] if args is None else args)
        ours = words[: words.index("--")] if "--" in words else words
        known = {option for action in self._actions for option in action.option_strings if option.startswith("--")}
        for option in (word.split("=")[0] for word in ours if word.startswith("--")):
            if not any(one.startswith(option) for one in known):
                near = nearest(option.replace("-", "_"), {one.replace("-", "_") for one in known})
                hint = f"did you mean --{near.lstrip('_')}?" if near else "--help lists all"
                self.error(f"there is no option {option}; {hint}")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where help is; the process ends with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown_name("choice", value, action.choices))
