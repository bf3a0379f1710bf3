"""Writing files: what is there is whole, whatever ended the writing."""

from __future__ import annotations

import contextlib
import json

import pytest

from ser_hf.utils.files import replacing_folder, write_json, write_text


def test_a_text_takes_its_place_when_it_is_whole(tmp_path):
    report = tmp_path / "reports" / "report.md"
    write_text(report, "first: Müller\n")
    assert report.read_bytes() == "first: Müller\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(report, "\udcff")
    assert report.read_bytes() == "first: Müller\n".encode()


def test_a_folder_takes_its_place_when_it_is_whole(tmp_path):
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "model") as part:
            (part / "config.json").write_text(content)
        with contextlib.suppress(KeyError), replacing_folder(tmp_path / "model") as part:
            (part / "half.json").write_text("")
            raise KeyError
        assert [(path.name, path.read_text()) for path in (tmp_path / "model").iterdir()] == [("config.json", content)]


def test_json_refuses_nan_and_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
