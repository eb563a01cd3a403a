"""Figures: accuracy on the chips against device passes, on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from orchestrator.api import Result

# Okabe-Ito colours and one marker a method: readable without colour as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(path: Path, methods: dict[str, list[Result]], title: str) -> None:
    """Save a figure of every method: mean over seeds and chips, with the range over seeds as a band.

    A method that trains in its twin makes no passes: it is a horizontal line, its promise a dotted one.
    """
    figure, axes = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    for i, (name, results) in enumerate(methods.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        accuracy = 100 * np.array([[np.mean(p.accuracies) for p in r.curve] for r in results])
        passes = np.array([p.passes for p in results[0].curve])
        label = f"{name} ({100 * np.mean([r.accuracy for r in results]):.1f} %)"
        if results[0].passes == 0:
            final = 100 * np.array([r.accuracy for r in results])
            axes.axhline(float(final.mean()), color=colour, ls="--", lw=1.5, label=f"{label}, no passes")
            promised = 100 * float(np.mean([r.accuracy_promised for r in results]))
            axes.axhline(promised, color=colour, ls=":", lw=1, label=f"{name}, promised ({promised:.1f} %)")
            continue
        axes.plot(passes, accuracy.mean(0), color=colour, marker=marker, ms=4, lw=1.5, label=label)
        if len(results) > 1:
            axes.fill_between(passes, accuracy.min(0), accuracy.max(0), color=colour, alpha=0.15, lw=0)
    if any(r[0].passes for r in methods.values()):
        axes.set_xscale("log")
    axes.set_xlabel("device passes (one sample once through the stack)")
    axes.set_ylabel("test accuracy on the chips (%)")
    seeds = len(next(iter(methods.values())))
    axes.set_title(f"{title}: mean over {seeds} seeds, band: range" if seeds > 1 else title, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, format="png")
    plt.close(figure)
