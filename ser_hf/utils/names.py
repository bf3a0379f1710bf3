"""Names in messages: the nearest to one that is not known, and the first few of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

NAMED = 3  # names that `some` gives


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another; None where none is like it.

    >>> nearest("ravdes", ["ravdess", "tess"])
    'ravdess'
    >>> nearest("iemocap", ["ravdess", "tess"]) is None
    True
    """
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """An error text for a name that is not known.

    >>> unknown_name("corpus", "ravdes", ["ravdess", "tess"])
    "there is no corpus 'ravdes'; did you mean 'ravdess'? There are: ravdess, tess"
    >>> unknown_name("corpus", "iemocap", ["ravdess", "tess"])
    "there is no corpus 'iemocap'; there are: ravdess, tess"
    """
    names = [str(one) for one in known]
    near = nearest(str(name), names)
    middle = "there are" if near is None else f"did you mean {near!r}? There are"
    return f"there is no {kind} {name!r}; {middle}: {', '.join(names)}"


def some(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
