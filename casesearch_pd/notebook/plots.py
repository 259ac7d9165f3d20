"""Pictures of cases: plain Series in, labelled Axes out."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ages"]

_BLUE = "#0072B2"  # from the palette of Okabe and Ito, told apart by colour-blind eyes
_DAY = 86_400  # seconds
_EDGES = (0, 1, 2, 4, 7, 14, 30, 60, 90, 180, 365)  # days


def ages(created: pd.Series[Any], now: pd.Timestamp, ax: Axes | None = None) -> Axes:
    """Draw a bar for each span of ages, in days.

    Parameters
    ----------
    created
        When each open case was created.
    now
        When the ages are measured.
    ax
        Where to draw; a new figure if None.
    """
    ax = _axes(ax)
    days = (now - created.dropna()).dt.total_seconds().to_numpy(dtype=float) / _DAY
    days = days.clip(min=0)  # created while the read began: the service's clock has whole seconds
    counts, labels = _in_spans(days)
    bars = ax.bar(labels, counts, color=_BLUE)
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
    ax.set_title(f"{len(days):,} open cases by age, {now:%Y-%m-%d %H:%M %Z}")
    ax.set_xlabel("age (days)")
    ax.set_ylabel("open cases")
    ax.margins(y=0.12)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _in_spans(days: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[list[int], list[str]]:
    """Count by spans that grow; spans beyond the oldest case are left out."""
    oldest = float(days.max()) if len(days) else 0.0
    edges = [edge for at, edge in enumerate(_EDGES) if at < 2 or _EDGES[at - 1] < oldest]  # noqa: PLR2004
    counts = np.histogram(days, bins=[*edges, np.inf] if oldest >= edges[-1] else edges)[0]
    labels = [_span(low, high) for low, high in pairwise(edges)]
    if oldest >= edges[-1]:
        labels.append(f"over {edges[-1]}")
    return [int(count) for count in counts], labels


def _span(low: int, high: int) -> str:
    return f"under {high}" if low == 0 else f"{low} to {high}"


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    _, made = plt.subplots(figsize=(8, 4.5), layout="constrained")
    return made
