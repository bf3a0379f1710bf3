"""What continuous integration makes of pip-audit's answers, and of none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
STAND_IN = """
import json, os, sys, time
said = json.loads(os.environ["STAND_IN"])
time.sleep(said.get("seconds", 0))
if "dependencies" in said:
    with open(sys.argv[sys.argv.index("--output") + 1], "w") as file:
        json.dump(said, file)
sys.exit("ProxyError: nobody answers" if "dependencies" not in said else 1)
"""
GOOD = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "gradio", "version": "4.0.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["4.1.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"dependencies": [GOOD]}, 0, "1 of 1 pinned packages asked about, 0 with an advisory"),
        ({"dependencies": [GOOD, BAD]}, 1, "gradio 4.0.0: GHSA-1, mended in 4.1.0"),
        ({"dependencies": [GOOD, UNKNOWN]}, 0, "as the service does not know these versions: torch"),
        ({}, 0, "not asked; pip-audit could not: ProxyError: nobody answers"),
        ({"seconds": 60}, 0, "not asked; no answer within 1 s"),
    ],
)
def test_an_advisory_fails_and_no_answer_is_said(said, status, words, tmp_path):
    (tmp_path / "pip_audit").mkdir()
    (tmp_path / "pip_audit" / "__init__.py").touch()
    (tmp_path / "pip_audit" / "__main__.py").write_text(STAND_IN)
    limit = "1" if "seconds" in said else "120"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "STAND_IN": json.dumps(said), "AUDIT_SECONDS": limit}
    line = [sys.executable, str(REPOSITORY / ".ci" / "audit.py")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr


def test_pip_audit_takes_our_words_and_no_network_ends_nothing():
    nobody = "http://127.0.0.1:9"
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), nobody)
    line = [sys.executable, str(REPOSITORY / ".ci" / "audit.py")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "advisories: not asked; pip-audit could not: " in done.stdout
    assert "Proxy" in done.stdout
    assert "usage" not in done.stdout
