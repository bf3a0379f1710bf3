"""How every command explains itself and answers what it does not know."""

import pytest

from ser_hf.command_line import CommandParser

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


def test_help_has_examples_as_they_are_written_and_each_default_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = parser().format_help()
    assert "    python -m thing a.wav --rate 2 \\\n        --kind loud\n" in text
    assert "Long text below is filled anew." in text
    assert "--rate N" in text
    assert "in Hz (default: 16)" in text
    assert "length in seconds (default: 2.5)." in text
    assert "--max-seconds" not in text
    assert text.count("(default: here)") == 1
    assert "do nothing\n" in text
    assert "100 % or less" in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "--rat", "x"], "argument --rate: invalid int value: 'x'"),
        (["a", "--raet", "2"], "there is no option --raet; did you mean --rate?"),
        (["a", "--dry-run"], "there is no option --dry-run; did you mean --dry_run?"),
        (["a", "--max_second=3s"], "argument --max_seconds/--max-seconds: invalid float value: '3s'"),
        (["--kindd", "loud"], "there is no option --kindd; did you mean --kind?"),
        (["a", "-x"], "unrecognized arguments: -x"),
        (["a", "--zzzzzz=3"], "there is no option --zzzzzz; --help lists all"),
        (
            ["a", "--kind", "laud"],
            "argument --kind: there is no choice 'laud'; did you mean 'loud'? There are: loud, soft",
        ),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_what_is_not_known_is_told_in_one_line_with_the_nearest(words, told, capsys):
    with pytest.raises(SystemExit) as exit:
        parser().parse_args(words)
    assert exit.value.code == 2
    captured = capsys.readouterr()
    assert captured.err == f"python -m thing: {told}\n"
    assert captured.out == ""


def test_what_is_right_is_parsed():
    parsed = parser().parse_args(["a", "b", "--kind", "soft", "--max-seconds", "1"])
    assert (parsed.files, parsed.kind, parsed.max_seconds, parsed.rate) == (["a", "b"], "soft", 1.0, 16)
