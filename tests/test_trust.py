"""The report on what the promises are held to: what commands print, kept word for word, and the count of mutants."""

from __future__ import annotations

import json
import sys

import pytest

from experiments.measuring import describe
from tests import mutants, trust


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """Two parts: one holds and prints progress first, one fails."""
    for name, text in (("holds", "print('on the way'); print('inputs: 3, held: 3')"), ("fails", "print(1); exit(1)")):
        (tmp_path / f"{name}.py").write_text(text)
    parts = {
        "holds": trust.Part("What holds", "It is held.", f"{tmp_path}/holds.py", "inputs:"),
        "fails": trust.Part("What fails", "It is not.", f"{tmp_path}/fails.py"),
    }
    monkeypatch.setattr(trust, "PARTS", parts)
    return parts


def test_what_a_part_printed_stands_in_the_report_without_its_progress(parts, tmp_path, capsys):
    report = tmp_path / "trust.md"
    assert trust.main(["--only", "holds", "--output", str(report)]) == 0
    text = report.read_text()
    assert "## What holds\n\nIt is held.\n" in text
    assert f"\n\non {describe()}:\n\n```\ninputs: 3, held: 3\n```\n" in text
    assert "on the way" not in text
    assert "What fails" not in text


def test_a_part_that_fails_is_told_and_one_that_is_left_out_keeps_what_it_had(parts, tmp_path, capsys):
    report = tmp_path / "trust.md"
    assert trust.main(["--output", str(report)]) == 1
    assert "failed: fails" in capsys.readouterr().out
    kept = tmp_path / "trust" / "holds.txt"
    kept.write_text(kept.read_text().replace(describe(), "an abacus"))
    parts["holds"] = trust.Part("What holds", "It is held.", f"{tmp_path}/absent.py", "inputs:")
    assert trust.main(["--only", "fails", "--output", str(report)]) == 1
    text = report.read_text()
    assert "on an abacus:\n\n```\ninputs: 3, held: 3\n" in text  # each where it was counted
    assert f"on {describe()}:\n\n```\n1\n" in text


def test_a_part_that_prints_nothing_does_not_take_the_others_with_it(parts, tmp_path):
    (tmp_path / "fails.py").write_text("exit(1)")
    assert trust.main(["--output", str(tmp_path / "trust.md")]) == 1
    assert "inputs: 3, held: 3" in (tmp_path / "trust.md").read_text()


def test_an_unknown_part_is_answered_with_the_nearest(parts, capsys):
    with pytest.raises(SystemExit) as exit:
        trust.main(["--only", "hold"])
    assert exit.value.code == 2
    assert "holds" in capsys.readouterr().err


@pytest.mark.parametrize(("codes", "status"), [([1] * 17 + [0] * 3, 0), ([1] * 16 + [0] * 4, 1), ([33], 1), ([], 1)])
def test_mutants_are_counted_by_module_and_those_that_no_test_reaches_are_not_noticed(
    codes, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(mutants, "COPY", tmp_path)
    monkeypatch.setattr(sys, "executable", "true")  # in place of mutmut
    (tmp_path / "ser_hf").mkdir()
    found = {f"name{number}": code for number, code in enumerate([*codes, None])}  # None: not tried yet
    (tmp_path / "ser_hf" / "metrics.py.meta").write_text(json.dumps({"exit_code_by_key": found}))
    assert mutants.main([]) == status
    killed = sum(code == 1 for code in codes)
    said = capsys.readouterr().out
    assert f"mutants: {len(codes)}, noticed: {killed} " in said
    assert said.endswith("; not tried yet: 1\n")
