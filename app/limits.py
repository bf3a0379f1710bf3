"""What one visitor may ask of a shared machine: every limit of the page, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ser_hf.utils.names import unknown_name

PREFIX = "SER_HF_LIMIT_"


@dataclass(frozen=True)
class Limits:
    """The page names a limit when it is hit.

    Each can be set in the environment, as ``SER_HF_LIMIT_SECONDS=120``.

    Attributes:
        megabytes: size of one recording.
        seconds: length of one recording.
        batch_files: recordings in one batch, those in archives among them.
        batch_megabytes: size of the recordings of one batch, unpacked, and of one upload.
        batch_minutes: work on one batch; the rest is reported as left out.
        live_seconds: one listening of the live tab, which then stops by itself.
        live_at_once: microphones that are listened to at the same time.
        at_once: requests that are worked on at the same time.
        queue: visitors waiting.
        keep_seconds: age at which an uploaded voice is deleted; an upload may not take longer, either.
        uploads_megabytes: uploads that lie here at the same time, of all visitors together.
        sessions: visitors of whom Gradio remembers what they sent last; for each it takes up to some MB.
    """

    megabytes: int = 25
    seconds: int = 600
    batch_files: int = 100
    batch_megabytes: int = 100
    batch_minutes: int = 5
    live_seconds: int = 120
    live_at_once: int = 4
    at_once: int = 2
    queue: int = 32
    keep_seconds: int = 600
    uploads_megabytes: int = 2000
    sessions: int = 100

    @property
    def json_bytes(self) -> int:
        """Size of a request that uploads nothing; the page itself sends back some kB for each recording of a batch."""
        return 500_000 + 5_000 * self.batch_files

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """The limits that the environment sets, the others as they are.

        Raises:
            ValueError: a value is no whole number above zero, or a name is that of no limit; the message names it.
        """
        names = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        chosen = {}
        for variable, value in environment.items():
            if not variable.startswith(PREFIX):
                continue
            if variable not in names:
                raise ValueError(unknown_name("limit", variable, names))
            if not value.isascii() or not value.isdigit() or int(value) < 1:
                raise ValueError(f"{variable}={value!r}: a limit is a whole number above zero")
            chosen[names[variable]] = int(value)
        return cls(**chosen)
