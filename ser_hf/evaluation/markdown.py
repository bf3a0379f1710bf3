"""Tables and figures as Markdown reports show them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None) -> str:
    """A Markdown table.

    Args:
        right: whether each column is aligned to the right (default: all but the first, which is text).
    """
    right = [column > 0 for column in range(len(head))] if right is None else right
    lines = [head, ["---:" if one else "---" for one in right], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float | None, missing: str = "") -> str:
    """A share of 1 in per cent with one decimal, without the sign; ``missing`` where it is None."""
    return missing if share is None else f"{100 * share:.1f}"


def bracket(interval: Sequence[float] | None, signed: bool = False) -> str:
    """An interval of shares in per cent, as `` [61.2, 70.4]``; nothing for None."""
    if interval is None:
        return ""
    low, high = (f"{100 * bound:{'+' if signed else ''}.1f}" for bound in interval)
    return f" [{low}, {high}]"
