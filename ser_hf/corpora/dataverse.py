"""Download the recordings of a record in a Dataverse repository, each with the md5 that the record tells.

Native API and data access API, https://guides.dataverse.org/en/latest/api/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm.auto import tqdm

from ser_hf.corpora import CorpusError
from ser_hf.corpora.download import TIMEOUT, DownloadError, fetch
from ser_hf.corpora.files import is_recording, unfinished


class Member(NamedTuple):
    """One file of a record; `size` in bytes, `md5` None where the record has checksums of another kind."""

    url: str
    name: str
    size: int
    md5: str | None


def fetch_record(
    site: str, doi: str, folder: Path, target_of: Callable[[str], str], corpus: str, n_recordings: int
) -> None:
    """Download all recordings of a record into `folder`: all, or none.

    What came before a broken connection stays in a hidden folder beside it, and the next call goes on from it.

    Args:
        site: address of the repository, such as https://borealisdata.ca.
        doi: of the record, without https://doi.org/.
        target_of: a recording's name -> "FOLDER/NAME" below `folder`, made of checked parts.
        corpus: its name, for messages.
        n_recordings: how many the record must hold.

    Raises:
        CorpusError: another number of recordings; a wrong name, from `target_of`.
        DownloadError: see `ser_hf.corpora.download.fetch`; an answer that is no list of files.
    """
    wanted = [(member, target_of(member.name)) for member in _members(site, doi) if is_recording(Path(member.name))]
    if len({target for _, target in wanted}) != n_recordings:
        raise CorpusError(f"{site}: {doi} holds {len(wanted)} recordings, not the {n_recordings} of {corpus}")
    beside = unfinished(folder)
    for member, target in tqdm(wanted, desc=f"downloading {corpus}", unit="clip"):
        path = beside / target
        if not path.is_file():
            fetch(member.url, path, member.md5, member.size, progress=False)
    folder.mkdir(exist_ok=True)
    for made in sorted(beside.iterdir()):
        made.rename(folder / made.name)
    beside.rmdir()


def _members(site: str, doi: str) -> list[Member]:
    """The files of the newest published version of a record."""
    url = f"{site}/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:{doi}"
    try:
        answer = requests.get(url, timeout=TIMEOUT)
        answer.raise_for_status()
        files = [entry["dataFile"] for entry in answer.json()["data"]]
        return [
            Member(f"{site}/api/access/datafile/{file['id']}", file["filename"], file["filesize"], file.get("md5"))
            for file in files
        ]
    except requests.HTTPError as error:
        raise DownloadError(f"{url}: the server answers {error.response.status_code}") from None
    except (KeyError, TypeError, ValueError):  # requests' own JSON error is a ValueError
        raise DownloadError(f"{url}: the answer is not a list of files") from None
    except requests.RequestException as error:
        raise DownloadError(f"{url}: cannot be reached ({type(error).__name__})") from None
