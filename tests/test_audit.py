"""What continuous integration makes of pip-audit's answers, and of none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).resolve().parent.parent / ".ci" / "audit.py"
STAND_IN = """
import os, sys, time
answer = os.environ["ANSWER"]
if answer == "none":
    time.sleep(60)
open(sys.argv[sys.argv.index("--output") + 1], "w").write(answer)
"""
GOOD = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "gradio", "version": "4.0.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["4.1.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"dependencies": [GOOD, UNKNOWN]}, 0, ["1 of 2", "torch"]),
        ({"dependencies": [GOOD, BAD]}, 1, ["gradio 4.0.0", "GHSA-1", "4.1.0"]),
        (None, 0, ["not asked"]),
    ],
)
def test_audit_fails_for_an_advisory_alone(answer, status, words, tmp_path):
    (tmp_path / "pip_audit.py").write_text(STAND_IN)
    environment = {"PYTHONPATH": str(tmp_path), "ANSWER": json.dumps(answer) if answer else "none"}
    environment |= {"AUDIT_SECONDS": "120" if answer else "1"}
    done = subprocess.run([sys.executable, AUDIT], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert all(word in done.stdout + done.stderr for word in words)
