"""Ask pip-audit whether advisories are known for the pinned requirements, and say whom nobody could be asked about.

Exit status: 1 if there is an advisory, else 0, also where there is no network: that is said, and hides no failure.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("AUDIT_SECONDS", "120"))  # for all packages; it takes some seconds


def main() -> int:
    """Ask, and tell what was answered."""
    files = [word for file in sorted(REPOSITORY.glob("requirements*.txt")) for word in ("--requirement", str(file))]
    options = ["--no-deps", "--disable-pip", "--timeout", "10", "--progress-spinner", "off", "--format", "json"]
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "pip_audit", *files, *options, "--output", str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            print(f"advisories: not asked; no answer within {SECONDS:g} s")
            return 0
        if not answer.exists():  # it is written only when the service has answered
            reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            print(f"advisories: not asked; pip-audit could not: {reason}")
            return 0
        packages = json.loads(answer.read_text(encoding="utf-8"))["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    unsafe = [package for package in asked if package["vulns"]]
    left_out = sorted(package["name"] for package in packages if "skip_reason" in package)
    print(f"advisories: {len(asked)} of {len(packages)} pinned packages asked about, {len(unsafe)} with an advisory")
    if left_out:
        print(f"advisories: not asked about, as the service does not know these versions: {', '.join(left_out)}")
    for package in unsafe:
        for one in package["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "no version"
            print(f"  {package['name']} {package['version']}: {one['id']}, mended in {mended}", file=sys.stderr)
    return 1 if unsafe else 0


if __name__ == "__main__":
    sys.exit(main())
