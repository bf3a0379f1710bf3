"""CITATION.cff, CHANGELOG.md and SECURITY.md say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import ser_hf

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
