"""List the licences of everything that requirements*.txt installs, as the packages themselves tell them.

Examples:

    python -m docs.licences
    python -m docs.licences --output runs/licences.md

It reads what is installed beside this Python, so `make test` comes first. Exit status: 0, or 2 where a package is
missing or tells no licence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from ser_hf.command_line import CommandParser

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "docs" / "licences.md"
FILES = (
    *("requirements.txt", "requirements-onnx.txt", "requirements-scale.txt", "requirements-egemaps.txt"),
    "requirements-dev.txt",
)
# What a package's metadata leaves out, or has wrong; read in the licence file that lies in its wheel.
READ_BY_HAND = {
    "atheris": "Apache-2.0",
    "opensmile": "audEERING Research License Agreement: non-commercial purposes only (its metadata says MIT)",
    "skops": "MIT",
}
TEXT = """\
# Licences of what is installed

Made by `python -m docs.licences`, from what the installed packages tell. What is pinned stands with its version; what
those packages need besides may have come in another version where you are. The project's own code, models and clips:
[NOTICE](../NOTICE).

Three wheels carry libraries of others beside their own code: `soundfile` has libsndfile (LGPL-2.1-or-later), `soxr` has
libsoxr (LGPL-2.1-or-later), and `av` has FFmpeg, which calls itself "LGPL version 3 or later", with codecs among which
libx264 and libx265 are GPL-2.0-or-later. Who hands on an image or an installer with these in it hands on their terms,
too. (`imageio-ffmpeg`, which only the tests need, has the ffmpeg program, under GPL-3.0-or-later.) On Linux, PyTorch
from the default index also brings NVIDIA's CUDA libraries, which are proprietary; the one from PyTorch's CPU index does
not.
"""


class LicenceError(ValueError):
    """A package that is missing or tells no licence; the message names it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for what the message says."""
    output = build_parser().parse_args(argv).output
    try:
        text = document()
    except LicenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    print(f"written: {output}")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m docs.licences", doc=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="F", default=OUTPUT, help="file that is written (default: docs/licences.md)"
    )
    return parser


def document() -> str:
    """The whole of docs/licences.md.

    Raises:
        LicenceError: see `licence_of`.
    """
    pins = {file: pinned(file) for file in FILES}
    direct = {name for names in pins.values() for name in names}
    parts = [TEXT.rstrip()]
    for file, names in pins.items():
        rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in sorted(names.items())]
        parts += [f"## {file}", "\n".join(["| package | version | licence |", "|---|---|---|", *rows])]
    rows = [f"| {name} | {licence_of(name)} |" for name in sorted(needed_by(direct) - direct)]
    parts += ["## What those need", "\n".join(["| package | licence |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def pinned(file: str) -> dict[str, str]:
    """Name -> version of the packages that a requirements file itself pins."""
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines())
    pins = (Requirement(line) for line in lines if line and not line.startswith("-"))
    return {normal(one.name): str(one.specifier).removeprefix("==") for one in pins}


def needed_by(names: Iterable[str]) -> set[str]:
    """These packages and all that they need on this machine, without extras.

    Raises:
        LicenceError: one of them is not installed.
    """
    known: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            requirements = map(Requirement, _distribution(name).requires or ())
            waiting += [
                normal(one.name) for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return known


def licence_of(name: str) -> str:
    """What a package says of its licence: an SPDX expression where it has one, else in its own words.

    Raises:
        LicenceError: it is not installed, or says nothing.
    """
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    metadata = _distribution(name).metadata
    kinds = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    told = metadata.get("License-Expression") or ", ".join(kind for kind in kinds if kind != "OSI Approved")
    told = told or next(iter((metadata.get("License") or "").strip().splitlines()), "")
    if not told:
        raise LicenceError(f"{name} tells no licence: read its licence file, and add it to READ_BY_HAND in {__file__}")
    return told


def normal(name: str) -> str:
    """A package's name as it is compared: lower case, with hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(name: str):
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise LicenceError(f"{name} is not installed: run make test first") from None


if __name__ == "__main__":
    sys.exit(main())
