"""List the licences of everything that requirements*.txt installs, as the packages themselves state them.

Examples:

    python -m docs.licences
    python -m docs.licences --output runs/licences.md

It reads what is installed beside this Python, so run `make test` first. Exit status: 0, or 2 where a package is missing
or states no licence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser_hf.command_line import CommandParser

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "docs" / "licences.md"
FILES = (
    *("requirements.txt", "requirements-onnx.txt", "requirements-scale.txt", "requirements-egemaps.txt"),
    "requirements-dev.txt",
)
# What a package's metadata leaves out, or has wrong; read in the licence file in its wheel.
READ_BY_HAND = {
    "opensmile": "audEERING Research License Agreement: non-commercial purposes only (its metadata says MIT)",
    "skops": "MIT",
}
TEXT = """\
# Licences of what is installed

Made by `python -m docs.licences`, from what the installed packages state. What is pinned stands with its version; what
those packages need besides may have come in another version where you are. The project's own code, models and clips:
[NOTICE](../NOTICE).

Three wheels carry libraries of others beside their own code: `soundfile` has libsndfile (LGPL-2.1-or-later), `soxr` has
libsoxr (LGPL-2.1-or-later), and `av` has FFmpeg, which calls itself "LGPL version 3 or later", with codecs among which
libx264 and libx265 are GPL-2.0-or-later. Who hands on an image or an installer with these in it hands on their terms,
too. On Linux, PyTorch from the default index also brings NVIDIA's CUDA libraries, which are proprietary; the one from
PyTorch's CPU index does not.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the document; returns 0, or 2 where a package is missing or states no licence."""
    output = build_parser().parse_args(argv).output
    try:
        text = document()
    except (PackageNotFoundError, ValueError) as error:
        print(f"error: {error}; run make test first", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    print(f"written: {output}")
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m docs.licences", doc=__doc__)
    parser.add_argument("--output", type=Path, metavar="F", default=OUTPUT, help="file (default: docs/licences.md)")
    return parser


def document() -> str:
    """The whole of docs/licences.md."""
    parts, direct = [TEXT.rstrip()], set()
    for file in FILES:
        pins = pinned(file)
        direct |= pins.keys()
        rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in sorted(pins.items())]
        parts += [f"## {file}", "\n".join(["| package | version | licence |", "|---|---|---|", *rows])]
    rows = [f"| {name} | {licence_of(name)} |" for name in sorted(needed_by(direct) - direct)]
    parts += ["## What those need", "\n".join(["| package | licence |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def pinned(file: str) -> dict[str, str]:
    """Name -> version of the packages that a requirements file itself pins."""
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines())
    pins = (Requirement(line) for line in lines if line and not line.startswith("-"))
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in pins}


def needed_by(names: Iterable[str]) -> set[str]:
    """These packages and all that they need on this machine, without extras."""
    known: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            needed = map(Requirement, requires(name) or ())
            waiting += [
                canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})
            ]
    return known


def licence_of(name: str) -> str:
    """What an installed package states as its licence: an SPDX expression where it has one, else its own words.

    Raises:
        ValueError: it states nothing.
    """
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    facts = metadata(name)
    kinds = [line.split(" :: ")[-1] for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    stated = facts.get("License-Expression") or ", ".join(kind for kind in kinds if kind != "OSI Approved")
    stated = stated or (facts.get("License") or "").strip().split("\n")[0]
    if not stated:
        raise ValueError(f"{name} states no licence: read its licence file, and add it to READ_BY_HAND in {__file__}")
    return stated


if __name__ == "__main__":
    sys.exit(main())
