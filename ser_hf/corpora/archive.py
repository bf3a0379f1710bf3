"""Get a corpus from the one zip file of its official record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ser_hf.corpora import CorpusError
from ser_hf.corpora.download import DownloadError
from ser_hf.corpora.files import WITH_MP3, recordings, unpack

DOWNLOADED = "download.zip"


def obtain(
    folder: Path,
    corpus: str,
    n_recordings: int,
    target_of: Callable[[PurePosixPath], str | None],
    by_hand: str,
    download: Callable[[Path], object] | None,
) -> None:
    """Unpack a corpus's zip into its folder, unless recordings are there: a zip that lies there, or a downloaded one.

    Args:
        corpus: its name, for messages.
        n_recordings: how many the zip must hold.
        target_of: see `ser_hf.corpora.files.unpack`.
        by_hand: how to get the corpus otherwise; ends the messages.
        download: writes the zip to a path, or raises DownloadError; None: it may not be downloaded.

    Raises:
        CorpusError: no zip and no leave to download it, a failed download, not the zip of the record.
    """
    if recordings(folder, WITH_MP3):
        return
    archive = next(iter(sorted(folder.glob("*.zip"))), None)
    downloaded = archive is None
    if archive is None:
        archive = folder / DOWNLOADED
        if download is None:
            raise CorpusError(f"{folder}: {corpus} is not there; {by_hand}, or allow the download")
        try:
            download(archive)
        except DownloadError as error:
            raise CorpusError(f"{corpus} could not be downloaded: {error}. Run again to go on, or {by_hand}") from None
    try:
        unpack(archive, folder, target_of, corpus, n_recordings)
    except CorpusError as error:
        raise CorpusError(f"{error}; {by_hand}") from None
    finally:
        if downloaded:
            archive.unlink()
