"""What the documents say is so: their commands, CITATION.cff, CHANGELOG.md and SECURITY.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import ser_hf
from tests.commands import COMMANDS, NO_COMMAND, WORKED, check, examples, parser_of

REPOSITORY = Path(__file__).resolve().parent.parent
# Of the Citation File Format 1.2.0: what a file must have, and the keys that we use.
NEEDED = {"cff-version", "message", "title", "authors"}
ALLOWED = NEEDED | {"type", "version", "license", "keywords", "references"}
REFERENCE = {"type", "title", "authors", "journal", "volume", "issue", "start", "year", "doi"}


def test_citation_is_valid_and_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert NEEDED <= citation.keys() <= ALLOWED
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert str(citation["version"]) == ser_hf.__version__
    assert citation["license"] == "Apache-2.0"
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys() <= REFERENCE
        assert re.fullmatch(r"10\.\d{4,}/\S+", reference["doi"])
        assert isinstance(reference["year"], int)
        assert isinstance(reference.get("start", ""), str)
    for author in [
        *citation["authors"],
        *(one for reference in citation["references"] for one in reference["authors"]),
    ]:
        assert author.keys() in ({"name"}, {"family-names", "given-names"})


def test_changelog_keeps_its_form():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
    assert ser_hf.__version__ in text


def test_security_names_files_and_commands_that_are_there():
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:app|docs|\.ci|ser_hf)/[\w./]+)`", text):
        assert (REPOSITORY / name).exists(), name
    assert re.search(r"^audit:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert not re.search(r"[\w.]+@[\w.]+", text), "an address that nobody may read"


DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/licences.md")
TEXTS = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in DOCUMENTS}
LINES = [(name, line) for name, text in TEXTS.items() for line in examples(WORKED.sub("## ", text))]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
# What other programs' commands may begin with.
OTHERS = (
    "accelerate launch ",
    "docker build ",
    "docker run ",
    "export ",
    "hf auth login",
    ".venv/bin/hf download ",
    "pip-compile ",
    "pip install ",
    "python -c ",
    "ray get-auth-token ",
    "ray start ",
    "torchrun ",
)


def is_ours(line: str) -> bool:
    return bool(re.match(r"(\.venv/bin/)?python -m (?!pytest)|ser-hf ", line))


@pytest.mark.parametrize(("document", "line"), [(name, line) for name, line in LINES if is_ours(line)])
def test_a_command_of_ours_takes_these_words(document, line):
    check(line)


@pytest.mark.parametrize(("document", "line"), [(name, line) for name, line in LINES if not is_ours(line)])
def test_every_other_line_is_a_command_that_is_there(document, line):
    line = re.sub(r"^[A-Z_]+=\S+ ", "", line)
    if line.startswith("make "):
        target = line.split()[1]
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"make {target}"
    elif line.startswith(".venv/bin/python -m pytest"):
        assert all((REPOSITORY / word).is_file() for word in line.split() if word.endswith(".py"))
    else:
        assert line.startswith(OTHERS) or NO_COMMAND.match(line), f"{document}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_within_sentences_have_the_options_that_they_name(document, capsys):
    for command, words in re.findall(r"`python -m ([\w.]+)([^`]*)`", TEXTS[document]):
        assert command in COMMANDS, command
        with pytest.raises(SystemExit):
            parser_of(command)(["--help"])
        known = capsys.readouterr().out
        for option in re.findall(r"--\w+", words):
            assert re.search(rf" {option}\b", known), f"{document}: {command} {option}"


def test_files_and_folders_that_the_documents_link_to_are_there():
    for document, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert ((REPOSITORY / document).parent / target).exists(), f"{document}: {target}"
