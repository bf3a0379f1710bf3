import re

import pytest

from docs import licences

WRITTEN = licences.OUTPUT.read_text(encoding="utf-8")
PINS = [(file, name, version) for file in licences.FILES for name, version in licences.pinned(file).items()]


@pytest.mark.parametrize(("file", "name", "version"), PINS)
def test_every_pinned_package_is_listed_with_the_licence_that_it_tells(file, name, version):
    part = WRITTEN.split(f"## {file}\n")[1].split("\n## ")[0]
    assert f"| {name} | {version} | {licences.licence_of(name)} |" in part.splitlines()


def test_nothing_is_listed_that_is_pinned_no_more():
    rows = re.findall(r"^\| ([\w-]+) \| (\d[^ ]*) \|", WRITTEN, re.MULTILINE)
    assert sorted(rows) == sorted((name, version) for _, name, version in PINS)


def test_the_command_writes_it_with_all_that_is_needed(tmp_path, capsys):
    output = tmp_path / "new" / "licences.md"
    assert licences.main(["--output", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    assert text.startswith(licences.TEXT.rstrip())
    for name in ("numba", "jinja2", "starlette"):  # which nothing pins
        assert re.search(rf"^\| {name} \| \w.* \|$", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["no-such-package"])
def test_what_is_not_installed_is_told(name):
    with pytest.raises(licences.LicenceError, match="no-such-package is not installed"):
        licences.licence_of(name)


def test_a_package_without_a_licence_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(licences, "READ_BY_HAND", {"atheris": "Apache-2.0"})
    assert licences.main(["--output", str(tmp_path / "f")]) == 2
    assert "skops tells no licence" in capsys.readouterr().err
