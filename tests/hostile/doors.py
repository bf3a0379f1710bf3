"""The doors that a recording comes in by, and whether what is said of it is what the table expects."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from gradio_client import Client, handle_file

from app.analysis import Analyser, Answer
from ser_hf import predict
from ser_hf.labels import LABELS
from tests.hostile.table import LABEL, Input

NOBODY = 65534
PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed
REFUSED = "refused by Gradio: "


@dataclass(frozen=True)
class Said:
    """What a door says of an input: a label, or an error; and warnings."""

    label: str | None
    error: str | None
    warnings: tuple[str, ...] = ()


@contextlib.contextmanager
def made(one: Input) -> Iterator[str]:
    """The path of an input, in a folder of its own that is the working folder meanwhile."""
    with tempfile.TemporaryDirectory(prefix="ser_hf-hostile-") as folder, contextlib.chdir(folder):
        os.chmod(folder, 0o755)
        yield one.make(Path(folder))


@contextlib.contextmanager
def rights_for(one: Input) -> Iterator[None]:
    """As the user that an input is for; root may read every file, and so is nobody where permissions are to hold."""
    user = os.geteuid()
    if user == 0 and one.as_anybody:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def expected_of(one: Input, door: str) -> str:
    """What the table expects: of the page what its limits say; of a path that is only named, a refusal."""
    if door == "api" and not one.uploads:
        return re.escape(REFUSED) + ".*uploaded to this page"
    return one.expected if door == "command" else one.page or one.expected


def by_command(path: str, model: str) -> Said:
    """`python -m ser_hf.predict`, without a process of its own."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = predict.main(["--model", model, "--format", "jsonl", "--", path])
    assert errors.getvalue() == "", errors.getvalue()
    (line,) = out.getvalue().splitlines()
    row = json.loads(line)
    assert row["file"] == path
    assert status == (1 if "error" in row else 0)
    return Said(row.get("label"), row.get("error"), tuple(row.get("warnings", ())))


def by_page(path: str, analyser: Analyser) -> Said:
    """What the page answers."""
    return of_page(analyser.analyse(path))


def by_api(one: Input, path: str, client: Client) -> Said:
    """What the page answers to a program; a path that is not sent as a file is only named, as an attacker would."""
    if one.uploads:
        try:
            return of_page(client.predict(handle_file(path), api_name="/analyze"))
        except ValueError as error:  # the client asks the page for its limit, and does not send what is larger
            return Said(None, str(error))
    call = f"{client.src}gradio_api/call/analyze"
    # Not by httpx's own json, which refuses names that are no UTF-8.
    payload = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]})
    headers = {"Content-Type": "application/json"}
    event = httpx.post(call, content=payload, headers=headers, timeout=PATIENCE_SECONDS).json()["event_id"]
    lines = httpx.get(f"{call}/{event}", timeout=PATIENCE_SECONDS).text.splitlines()
    data = json.loads(lines[1].removeprefix("data: "))
    return Said(None, REFUSED + json.dumps(data)) if lines[0] == "event: error" else of_page(data[0])


def of_page(answer: Answer) -> Said:
    json.dumps(answer)
    if "error" in answer:
        return Said(None, answer["error"])
    return Said(answer["model"]["label"], None, (*answer["warnings"], *answer["model"]["warnings"]))


def complaint(one: Input, door: str, said: Said) -> str | None:
    """What is not as expected of "command", "page" or "api"; None if it holds."""
    expected, warning = expected_of(one, door), one.warning
    if said.label is not None:
        if expected != LABEL:
            return f"answered {said.label!r}, and should say {expected!r}"
        if said.label not in LABELS:
            return f"answered {said.label!r}, which is no label"
        if warning and not any(re.search(warning, one) for one in said.warnings):
            return f"warns of {said.warnings}, and should warn of {warning!r}"
        return None
    if "Traceback" in said.error or "object at 0x" in said.error:
        return f"gives a traceback: {said.error}"
    if expected == LABEL or not re.search(expected, said.error):
        return f"says {said.error!r}, and should say {expected!r}"
    return None
