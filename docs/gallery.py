"""Draw the plots of the README: ``python docs/gallery.py``; needs no account."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

import casesearch_pd as cs

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)  # a fixed clock gives the same plots every day


def draw(folder: Path) -> list[Path]:
    """Read generated cases through the real client and plot them; return the files."""
    with cs.LocalCases(cases=3000, seed=7, now=NOW) as local:
        df = cs.read_cases(local.connect_cases(), tz="Europe/Berlin", progress=False)
    plot = df.cases.plot
    plots = {
        "flow": lambda ax: plot.flow(ax=ax),
        "heatmap": lambda ax: plot.heatmap(ax=ax),
        "breakdown": lambda ax: plot.breakdown("queue", names=queue_name, ax=ax),
        "time-to-close": lambda ax: plot.time_to_close("priority", ax=ax),
    }
    return [_save(folder / f"{name}.png", draw_plot) for name, draw_plot in plots.items()]


def queue_name(queue: str) -> str:
    """Return a readable name of a queue id, as a table of your own would."""
    return queue.removeprefix("cqueue_")


def _save(path: Path, draw_plot: Callable[[Axes], Axes]) -> Path:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    draw_plot(figure.add_subplot())
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return path


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
