"""Write the table and the figure of docs/methods.md from the registry and from what tools/common_task.py measured.

python tools/methods_page.py
"""

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from algorithms import registry

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "common-task"
BEGIN, END = "<!-- made by tools/methods_page.py -->", "<!-- end -->"
PARAMETERS = 2410  # of the common task
HEAD = (
    "method",
    "route, signal, evidence",
    "a physical stage must offer",
    "what crosses between shards",
    "passes a step",
    "calls, writes a step",
    "unknowns a reward explains",
    "exact",
    "fails",
    "accuracy",
)


def needs(method: Any) -> str:
    return ", ".join(sorted(method.needs(True))) or "nothing"


def crosses(method: Any) -> str:
    """Beside activities, which go up in every method."""
    if method.signal == "none":
        return "nothing back"
    if method.evidence == "losses":
        return "one number a row"
    if method.signal == "losses":
        return "a number a row and sample"
    return "the error, stage by stage" if method.route == "chain" else "the error, to all at once"


def passes(method: Any) -> str:
    """Of every sample, with the default settings."""
    made = method.passes(PARAMETERS)
    return "0 (twin)" if made.on == "twin" else str(1 if made.tangents else len(made))


def line(name: str) -> list[str]:
    cls = registry.load(name)
    method, told = cls(), measured(name)
    facts = cls.facts or ("-", "-", "-")
    counts = f"{told['calls_a_step']:.0f}, {told['writes_a_step']:.0f}" if told else "-"
    reached = f"{100 * statistics.fmean(told['accuracy']):.1f} ± {spread(told):.1f} %" if told else "-"
    words = f"{cls.route}, {cls.signal}, {cls.evidence}"
    return [f"`{name}`", words, needs(method), crosses(method), passes(method), counts, *facts, reached]


def measured(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def spread(told: dict[str, Any]) -> float:
    """Standard deviation over seeds, in points."""
    return 100 * statistics.stdev(told["accuracy"])


def draw(names: list[str]) -> None:
    """docs/images/methods.svg: accuracy of every method on the common task."""
    known = [(name, told) for name in names if (told := measured(name))]
    if not known:
        return
    found = sorted(known, key=lambda one: statistics.fmean(one[1]["accuracy"]))
    plt.rcParams["svg.hashsalt"] = "pnn"
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(found) + 1), layout="constrained")
    for i, (_, told) in enumerate(found):
        values = [100 * a for a in told["accuracy"]]
        axes.plot(values, [i] * len(values), "o", color="#7a9cc6", markersize=5)
        axes.plot([statistics.fmean(values)], [i], "|", color="#1f3b63", markersize=14, markeredgewidth=2)
    axes.set_yticks(range(len(found)), [name for name, _ in found])
    axes.set_xlabel("accuracy on the chips (%), each seed and their mean")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(ROOT / "docs" / "images" / "methods.svg", metadata={"Date": None})


def main() -> None:
    """The text between the two marks is replaced."""
    names = list(registry.METHODS)
    rows = [HEAD, ["---"] * len(HEAD), *map(line, names)]
    page = ROOT / "docs" / "methods.md"
    before, _, rest = page.read_text().partition(BEGIN)
    table = [f"| {' | '.join(row)} |" for row in rows]
    page.write_text("\n".join([before + BEGIN, "", *table, "", END]) + rest.partition(END)[2])
    draw(names)


if __name__ == "__main__":
    main()
