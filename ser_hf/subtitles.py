"""Predictions over time as files of other programs: subtitles, Praat TextGrid, Audacity labels and RTTM."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

from ser_hf.rows import Row, placed

CHANNELS = {"left": 1, "right": 2}  # as RTTM counts them


class Cue(NamedTuple):
    """A stretch of a recording, in whole milliseconds, its label and probability, and who speaks ("": not known)."""

    start: int
    end: int
    label: str
    score: float
    speaker: str


def cues_of(rows: Iterable[Row]) -> list[Cue]:
    """The utterances in the rows of one recording, in order; windows that overlap (--hop) share that time."""
    cues = []
    for row in rows:
        timeline = row["timeline"]
        edges = [[_milliseconds(one["start"]), _milliseconds(min(one["end"], row["duration"]))] for one in timeline]
        for before, after in pairwise(edges):
            if after[0] < before[1]:
                before[1] = after[0] = (before[1] + after[0]) // 2
        for (start, end), one in zip(edges, timeline, strict=True):
            label = " ".join(one["label"].split())
            cues.append(Cue(start, end, label, one["scores"][one["label"]], row.get("channel") or ""))
    return sorted(cues)


def srt(rows: Sequence[Row]) -> str:
    """SubRip: one cue per utterance."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_spoken(cue)}\n"
        for number, cue in enumerate(cues_of(rows), start=1)
    )


def vtt(rows: Sequence[Row]) -> str:
    """WebVTT: one cue per utterance; a speaker is its voice."""
    cues = [f"{_clock(cue.start)} --> {_clock(cue.end)}\n{_voice(cue)}\n" for cue in cues_of(rows)]
    return "\n".join(["WEBVTT\n", *cues])


def textgrid(rows: Sequence[Row]) -> str:
    """Praat TextGrid: one interval tier per speaker, which covers the whole recording."""
    end = max(_milliseconds(row["duration"]) for row in rows)
    tiers = [_tier(row, end) for row in rows]
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end)}"]
    lines = [*head, "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, tier in enumerate(tiers, start=1):
        lines += [f"    item [{number}]:", *(f"        {line}" for line in tier)]
    return "\n".join(lines) + "\n"


def _tier(row: Row, end: int) -> Iterator[str]:
    """The lines of a tier; what is between utterances has an empty text."""
    intervals, place = [], 0
    for cue in cues_of([row]):
        if cue.start > place:
            intervals.append((place, cue.start, ""))
        intervals.append((cue.start, cue.end, cue.label))
        place = cue.end
    if place < end:
        intervals.append((place, end, ""))
    name = f"emotion {row.get('channel') or ''}".strip()
    yield from ('class = "IntervalTier"', f'name = "{name}"', "xmin = 0", f"xmax = {_seconds(end)}")
    yield f"intervals: size = {len(intervals)}"
    for number, (start, stop, label) in enumerate(intervals, start=1):
        text = label.replace('"', '""')
        yield f"intervals [{number}]:"
        yield from (f"    xmin = {_seconds(start)}", f"    xmax = {_seconds(stop)}", f'    text = "{text}"')


def audacity(rows: Sequence[Row]) -> str:
    """Audacity's label track: start, end and label, with tabs between."""
    return "".join(f"{_seconds(cue.start)}\t{_seconds(cue.end)}\t{_named(cue)}\n" for cue in cues_of(rows))


def rttm(rows: Sequence[Row]) -> str:
    """RTTM: the name (field 8) is the label or, where the speaker is known, the speaker; field 7 is then the label."""
    file, lines = _word(Path(rows[0]["file"]).stem), []
    for cue in cues_of(rows):
        kind, name = (_word(cue.label), _word(cue.speaker)) if cue.speaker else ("<NA>", _word(cue.label))
        times = f"{_seconds(cue.start)} {_seconds(cue.end - cue.start)}"
        lines.append(f"SPEAKER {file} {CHANNELS.get(cue.speaker, 1)} {times} <NA> {kind} {name} <NA> <NA>\n")
    return "".join(lines)


# Format: what makes the text of one recording's rows, and how its files end.
TIMELINE_FORMATS: dict[str, tuple[Callable[[Sequence[Row]], str], str]] = {
    "srt": (srt, ".srt"),
    "vtt": (vtt, ".vtt"),
    "textgrid": (textgrid, ".TextGrid"),
    "audacity": (audacity, ".txt"),
    "rttm": (rttm, ".rttm"),
}


def write_timelines(rows: Iterable[Row], format: str, output: Path | None, names: Sequence[str]) -> int:
    """Write one file per recording; one that has failed is reported, and has none.

    Args:
        rows: as `ser_hf.rows.predict_rows` yields them; those of one file, one for each of its channels, follow each
            other.
        format: one of `TIMELINE_FORMATS`.
        output: a folder, where each recording has the name and the subfolder that it has itself; or, for one
            recording, a file, pipe or device; None is standard output.
        names: of the recordings to come.

    Returns:
        How many rows have an error.
    """
    text_of, suffix = TIMELINE_FORMATS[format]
    files = file_names(names, suffix) if output is not None and output.is_dir() else {}
    failed = 0
    for name, group in groupby(rows, lambda row: row["file"]):
        found = []
        for row in group:
            if "error" in row:
                print(row["error"], file=sys.stderr)
                failed += 1
            else:
                found.append(row)
        if not found:
            continue
        if output is None:
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(errors="backslashreplace")
            sys.stdout.write(text_of(found))
            sys.stdout.flush()
            continue
        path = output / files[name] if files else output
        path.parent.mkdir(parents=True, exist_ok=True)
        with placed(path) as part:
            part.write_text(text_of(found), encoding="utf-8", errors="backslashreplace", newline="")
    return failed


def file_names(names: Iterable[str], suffix: str) -> dict[str, str]:
    """The file of each recording, below the folder that all of them share: ``a/clip.wav`` has ``a/clip.srt``.

    Where that is the same for two recordings, they keep their own suffix: ``clip.wav.srt`` and ``clip.flac.srt``.

    >>> file_names(["x/a/clip.wav", "x/b.wav", "x/b.flac"], ".srt")
    {'x/a/clip.wav': 'a/clip.srt', 'x/b.wav': 'b.wav.srt', 'x/b.flac': 'b.flac.srt'}
    """
    paths = {name: os.path.abspath(name) for name in names}
    stems = Counter(os.path.splitext(path)[0] for path in set(paths.values()))
    shared = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    return {
        name: os.path.relpath(stem if stems[stem := os.path.splitext(path)[0]] == 1 else path, shared) + suffix
        for name, path in paths.items()
    }


def _spoken(cue: Cue) -> str:
    return f"{_named(cue)} {100 * cue.score:.0f} %"


def _named(cue: Cue) -> str:
    return f"{cue.speaker}: {cue.label}" if cue.speaker else cue.label


def _voice(cue: Cue) -> str:
    text = _spoken(cue._replace(speaker=""))
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return f"<v {cue.speaker}>{text}" if cue.speaker else text


def _word(text: str) -> str:
    """Text without spaces, which separate the fields of RTTM."""
    return "_".join(text.split())


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def _clock(milliseconds: int, point: str = ".") -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
