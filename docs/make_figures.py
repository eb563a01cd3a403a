"""Draw docs/images/step.svg and docs/images/lanes.svg: `python docs/make_figures.py`."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).parent / "images"
BLUE, ORANGE, GREEN, GREY, WHITE = "#cfe3f3", "#f8ddc4", "#cfeadf", "#ececec", "#ffffff"


def canvas(width: float, height: float) -> tuple[plt.Figure, Axes]:
    """Axes in units of one inch, nothing drawn."""
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(axes: Axes, x: float, y: float, w: float, h: float, text: str, colour: str = WHITE, size: float = 9) -> None:
    """A rounded box with its lower left corner at (x, y)."""
    axes.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=0.06", fc=colour, ec="#555555", lw=0.9))
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=size, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], style: str = "-|>") -> None:
    look = {"mutation_scale": 10, "lw": 1.1, "color": "#222222", "shrinkA": 0, "shrinkB": 0}
    patch = FancyArrowPatch(start, end, arrowstyle=style, **look)
    axes.add_patch(patch)


def label(axes: Axes, x: float, y: float, text: str, size: float = 9, **more) -> None:
    axes.text(x, y, text, fontsize=size, va="center", linespacing=1.35, **more)


def step() -> None:
    """One step of two workers that are clones of each other."""
    figure, axes = canvas(11.4, 5.1)
    for y, name, colour in ((3.85, "coordinator", GREY), (2.0, "worker 0", BLUE), (0.45, "worker 1", ORANGE)):
        axes.axhspan(y - 0.25, y + 0.95, color=colour, alpha=0.35, lw=0)
        label(axes, 0.15, y + 0.35, name, 10, weight="bold")
    box(axes, 1.45, 3.85, 1.5, 0.7, "batch(seed, s),\nrecord s - 1")
    box(axes, 7.0, 3.85, 1.75, 0.7, "reduce in item\norder, float64")
    box(axes, 9.2, 3.85, 1.95, 0.7, "append record s\nwith hash of s - 1")
    arrow(axes, (8.75, 4.2), (9.2, 4.2))
    for y, items, colour in ((2.0, "items 0, 2, 4 ...", BLUE), (0.45, "items 1, 3, 5 ...", ORANGE)):
        box(axes, 1.45, y, 1.5, 0.7, "commit record s - 1,\nclocks run on", colour)
        box(axes, 3.2, y, 2.0, 0.7, f"{items}: stages\nmeasure, decode", colour)
        box(axes, 5.45, y, 1.3, 0.7, "readout: losses\nor error", colour)
        box(axes, 7.0, y, 1.75, 0.7, "learn: gradients\n(if not losses)", colour)
        for lo, hi in ((2.95, 3.2), (5.2, 5.45), (6.75, 7.0)):
            arrow(axes, (lo, y + 0.35), (hi, y + 0.35))
    arrow(axes, (2.0, 3.85), (2.0, 2.7))
    arrow(axes, (1.3, 4.2), (1.3, 0.8), style="-")
    arrow(axes, (1.45, 4.2), (1.3, 4.2), style="-")
    arrow(axes, (1.3, 0.8), (1.45, 0.8))
    label(axes, 2.12, 3.28, "call s: one a worker", 9)
    arrow(axes, (7.85, 2.7), (7.85, 3.85))
    arrow(axes, (8.75, 0.8), (8.95, 0.8), style="-")
    arrow(axes, (8.95, 0.8), (8.95, 3.55), style="-")
    arrow(axes, (8.95, 3.55), (8.45, 3.55), style="-")
    arrow(axes, (8.45, 3.55), (8.45, 3.85))
    label(axes, 4.95, 3.28, "report: losses or gradients,\nwhat the devices did", 9)
    arrow(axes, (10.2, 3.85), (10.2, 3.1))
    label(axes, 10.2, 2.75, "applied by call s + 1,\nor replayed later", 9, ha="center")
    figure.savefig(HERE / "step.svg", metadata={"Date": None})
    plt.close(figure)


def cells(axes: Axes, x: float, y: float, columns: int, rows: int, w: float, h: float) -> None:
    """A table of items, coloured by lane."""
    for r in range(rows):
        for c in range(columns):
            i = r * columns + c
            axes.add_patch(plt.Rectangle((x + c * w, y - (r + 1) * h), w, h, fc=(BLUE, ORANGE)[i % 2], ec="#555555"))
            label(axes, x + (c + 0.5) * w, y - (r + 0.5) * h, f"item {i}", 9, ha="center")


def lanes() -> None:
    """Items of a step, and two lanes of two workers each."""
    figure, axes = canvas(11.4, 5.0)
    label(axes, 0.3, 4.75, "Items: the smallest pieces of work", 10.5, weight="bold")
    label(axes, 0.3, 4.35, 'spread = "probes" (SPSA, 64 rows, train.rows = 16)')
    cells(axes, 1.0, 4.1, 1, 4, 2.6, 0.3)
    label(axes, 0.9, 3.5, "rows", ha="right")
    label(axes, 2.3, 2.75, "all samples of the batch", ha="center")
    label(axes, 0.3, 2.05, 'spread = "data" (one row, batch 128, train.chunk = 32)')
    cells(axes, 1.0, 1.8, 4, 1, 0.85, 0.5)
    label(axes, 0.9, 1.55, "all rows", ha="right")
    label(axes, 2.7, 1.12, "samples", ha="center")
    label(axes, 0.3, 0.55, "Their shapes follow from the run file; only the\nlane (the colour) depends on the workers.")
    axes.plot([5.05, 5.05], [0.2, 4.85], color="#bbbbbb", lw=0.8)
    label(axes, 5.3, 4.75, 'Lanes: 4 workers, 2 stages, placement = "stages"', 10.5, weight="bold")
    for y, lane, colour, a, b in ((2.75, 0, BLUE, 0, 1), (0.55, 1, ORANGE, 2, 3)):
        axes.add_patch(plt.Rectangle((5.3, y - 0.2), 5.8, 1.8, fc=colour, alpha=0.35, lw=0))
        label(axes, 5.45, y + 1.4, f"lane {lane}: items {lane}, {lane + 2}, {lane + 4} ...", 9.5, weight="bold")
        box(axes, 5.5, y, 2.0, 1.05, f"worker {a}\nstage 0\n(a segment)", colour)
        box(axes, 9.0, y, 1.95, 1.05, f"worker {b}\nstage 1, readout\n(a segment)", colour)
        arrow(axes, (7.5, y + 0.75), (9.0, y + 0.75))
        arrow(axes, (9.0, y + 0.25), (7.5, y + 0.25))
        label(axes, 8.25, y + 0.9, "h", ha="center")
        label(axes, 8.25, y + 0.4, "error, cotangents", 8.5, ha="center")
    figure.savefig(HERE / "lanes.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    plt.rcParams.update({"svg.hashsalt": "pnn", "svg.fonttype": "none"})  # text stays text
    HERE.mkdir(exist_ok=True)
    step()
    lanes()
