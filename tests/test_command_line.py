"""How every command explains itself and answers what it does not know."""

import pytest

from ser_hf.command_line import CommandParser, noting, prints_errors
from ser_hf.hub import HubError
from ser_hf.models import ModelError
from ser_hf.utils.names import nearest, unknown_name

DOC = """Do a thing with some files, which is said in one sentence that is long enough to need two lines of eighty.

Examples:

    python -m thing a.wav
    python -m thing a.wav --rate 2 \\
        --kind loud

Long text below
is filled anew.
"""


def parser() -> CommandParser:
    made = CommandParser(prog="python -m thing", doc=DOC)
    made.add_argument("files", nargs="+", metavar="FILE")
    made.add_argument("--kind", choices=("loud", "soft"), default="loud", help="how, at 100 %% or less")
    made.add_argument("--rate", type=int, default=16, help="in Hz")
    made.add_argument("--max_seconds", "--max-seconds", type=float, default=2.5, help="length in seconds.")
    made.add_argument("--where", help="a place (default: here)")
    made.add_argument("--dry_run", action="store_true", help="do nothing")
    return made


def test_help_shows_examples_and_defaults_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = parser().format_help()
    assert "    python -m thing a.wav --rate 2 \\\n        --kind loud\n" in text
    assert "Long text below is filled anew." in text
    for shown in ("--rate N", "in Hz (default: 16)", "length in seconds (default: 2.5).", "100 % or less"):
        assert shown in text
    assert "--max-seconds" not in text
    assert text.count("(default: here)") == 1
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a", "--rat", "x"], ["--rate", "'x'"]),
        (["a", "--raet", "2"], ["--raet", "--rate?"]),
        (["a", "--dry-run"], ["--dry-run", "--dry_run?"]),
        (["a", "--max_second=3s"], ["--max_seconds", "'3s'"]),
        (["--kindd", "loud"], ["--kindd", "--kind?"]),
        (["a", "-x"], ["-x"]),
        (["a", "--zzzzzz=3"], ["--zzzzzz", "--help"]),
        (["a", "--kind", "laud"], ["--kind", "'laud'", "'loud'?", "loud, soft"]),
        ([], ["FILE"]),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest(words, named, capsys):
    with pytest.raises(SystemExit) as exit:
        parser().parse_args(words)
    assert exit.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("python -m thing: ")
    assert captured.err.count("\n") == 1
    assert all(one in captured.err for one in named)
    assert captured.out == ""


def test_right_usage_is_parsed():
    parsed = parser().parse_args(["a", "b", "--kind", "soft", "--max-seconds", "1"])
    assert (parsed.files, parsed.kind, parsed.max_seconds, parsed.rate) == (["a", "b"], "soft", 1.0, 16)


@pytest.mark.parametrize(
    ("error", "status"),
    [(ModelError("no model"), 2), (HubError("no Hub"), 1), (FileNotFoundError(2, "gone", "a.wav"), 2), (None, 0)],
)
def test_prints_errors_ends_with_a_status(error, status, capsys):
    @prints_errors(HubError)
    def main(argv):
        with noting("what to do", HubError):
            if error:
                raise error

    assert main(["a"]) == status
    note = "what to do\n" if isinstance(error, HubError) else ""
    assert capsys.readouterr().err == (f"error: {error}\n{note}" if error else "")


def test_prints_errors_lets_bugs_through():
    with pytest.raises(ZeroDivisionError):
        prints_errors()(lambda argv: 1 // 0)()


@pytest.mark.parametrize(("name", "near"), [("ravdes", "ravdess"), ("emo-db", "emodb"), ("", None), ("xyz", None)])
def test_nearest_name_or_none(name, near):
    assert nearest(name, ["ravdess", "tess", "emodb"]) == near
    assert nearest(name, []) is None
    message = unknown_name("corpus", name, ("ravdess", "tess", "emodb"))
    assert repr(name) in message
    assert "ravdess, tess, emodb" in message
    assert (f"{near!r}?" in message) == (near is not None)
