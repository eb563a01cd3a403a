"""Draw where the time of a step goes: python tools/draw_split.py OUT.png "NAME=FOLDER/profile.json" ...

A bar for each profile that `pnn train --profile` wrote, divided as its last line divides it.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from orchestrator.core.spans import Span
from orchestrator.profile import shares

# Okabe and Ito's colours, with hatches for who sees none
LOOKS = {
    "physics": ("#0072B2", ""),
    "digital": ("#56B4E9", "//"),
    "commit": ("#009E73", ""),
    "journal": ("#E69F00", "\\\\"),
    "waiting": ("#CC79A7", ""),
    "orchestration": ("#999999", ".."),
}


def spans_of(path: str) -> list[Span]:
    """What a trace was made of; times in ns."""
    return [
        Span(e["cat"], e["name"], round(1e3 * e["ts"]), round(1e3 * e["dur"]), e["pid"], e["tid"])
        for e in json.loads(Path(path).read_text())["traceEvents"]
    ]


def main(out: str, *profiles: str) -> None:
    named = [profile.rsplit("=", 1) for profile in profiles]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.55 * len(named)), layout="constrained")
    for y, (_, path) in enumerate(named):
        _, seconds = shares(spans_of(path))
        total, left = sum(seconds.values()), 0.0
        for kind, s in seconds.items():
            colour, hatch = LOOKS[kind]
            part = 100 * s / total
            axes.barh(y, part, left=left, color=colour, hatch=hatch, edgecolor="white", label=kind if y == 0 else None)
            if part > 6:
                axes.text(left + part / 2, y, f"{part:.0f}", ha="center", va="center", fontsize=8, color="black")
            left += part
        axes.text(101, y, f"{1e3 * total:,.3g} ms", va="center", fontsize=9)
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of a step (%); right: the whole step")
    figure.legend(loc="outside upper center", ncols=len(LOOKS), fontsize=9, frameon=False)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
