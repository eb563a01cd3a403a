"""Valid run files to break, where their keys stand, and what may stand there instead."""

import dataclasses
import os
import re
from pathlib import Path
from typing import NamedTuple, get_args

from algorithms import registry as methods
from orchestrator import spec
from physics import registry as substrates

ROOT = Path(__file__).parents[2]
RICH = """\
method.name = "spsa"
method.probes = 4

[data]
name = "digits"
size = [4, 4]
part = "validation"
train_samples = 1000

[[network]]
substrate = "oscillators"
size = 12
nodes = 20
decode = "softsign"
trained_gain = true
encode = "peak"

[network.method]
name = "physics-aware"
optimizer = "momentum"
rate = 0.05

[[network]]
substrate = "crossbar"
size = 8
decode = "relu"
encode = "clip"
tiles = 2
tile_by = "inputs"
failures_per_s = 0.5
device = "driven"

[[network]]
substrate = "digital"
size = 10
bias = false
method = {name = "dfa", schedule = "cosine"}

[fleet]
replicas = 3
share = "tied"
seed = 11
noise = 0.5
stuck_off = 0.01
real_time = false

[train]
steps = 7
batch = 96
seed = 5
rows = 8
chunk = 24
evaluate_every = 3
evaluate_samples = 100
evaluate_chunk = 50
placement = "tiles"

[compare]
seeds = [3, 4]

[compare.dfa]
rate = 0.02
steps = 5

[compare.phyll]
theta = 5.0

[[compare.phyll.network]]
substrate = "crossbar"
size = 6
trained = false

[[compare.phyll.network]]
substrate = "digital"
size = 10
"""
SMALL = """\
[[network]]
substrate = "crossbar"
size = 10
gain = 2.0

[method]
name = "dfa"
optimizer = "sgd"
rate = 0.1
"""


def sources():
    """The valid run files, by name."""
    found = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.toml"))}
    if not os.environ.get("PNN_DATA"):
        found = {name: text for name, text in found.items() if not name.startswith("mnist-")}
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    found["readme.toml"] = next(block for block in blocks if "[data]" in block and "[fleet]" in block)
    return {**found, "rich.toml": RICH, "small.toml": SMALL}


SOURCES = sources()


class Line(NamedTuple):
    """`key = value` in a table: its number, and the place of the table as it is told."""

    number: int
    indent: str
    table: str
    key: str
    value: str


def lines_of(text):
    """(lines with a key, {number: name} of the headers); no value of the sources spans lines."""
    keys, headers, counts, table = [], {}, {}, ""
    for number, line in enumerate(text.split("\n")):
        if header := re.match(r"(\[\[?)([\w.-]+)\]", line):
            name = header[2]
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
            table, parts = "", name.split(".")
            for i, part in enumerate(parts):
                table += f".{part}" if table else part
                known = ".".join(parts[: i + 1])
                table += f"[{counts[known]}]" if known in counts else ""
            headers[number] = name
        elif pair := re.match(r"(\s*)([\w.-]+) = (\[.*?\]|\{.*?\}|\"[^\"]*\"|[^\s#]+)", line):
            keys.append(Line(number, pair[1], table, pair[2], pair[3]))
    return keys, headers


def replaced(text, number, new):
    lines = text.split("\n")
    lines[number] = new
    return "\n".join(lines)


def dotted(table, key):
    return f"{table}.{key}" if table else key


def options(cls):
    return {f.name for f in dataclasses.fields(cls)} - {"n_in", "n_out", "decode_as"}


def literals(annotation):
    """The words of a Literal, or of Literal | None."""
    return {word for a in get_args(annotation) for word in ({a} if isinstance(a, str) else literals(a))}


def model_of(annotation):
    """The table that a field holds, or the tables that it lists."""
    if isinstance(annotation, type):
        return annotation
    return next((model_of(a) for a in get_args(annotation) if a is not type(None)), None)


MODELS = {name: model_of(field.annotation) for name, field in spec.Run.model_fields.items()}


def keys_of(table, text):
    """What may stand in a table; options of any substrate and method count as allowed: they may be of another."""
    last = re.sub(r"\[\d+\]", "", table).split(".")[-1]
    plugins = {o for n in substrates.names() for o in options(substrates.load(n))}
    plugins |= {o for n in methods.names() for o in options(methods.load(n))}
    if table == "":
        return set(spec.Run.model_fields)
    if table == "compare":
        return {"seeds", *methods.names()}
    if table.startswith("compare.") and last != "network":
        return set(spec.Method.model_fields) | set(spec.Entry.model_fields) | plugins
    return set(MODELS[last].model_fields) | (plugins if last in ("network", "fleet", "method") else set())


NAMES = {
    "substrate": substrates.names(),
    "optimizer": literals(spec.Method.model_fields["optimizer"].annotation),
    "schedule": literals(spec.Method.model_fields["schedule"].annotation),
    "encode": literals(spec.Stage.model_fields["encode"].annotation),
    "decode": literals(spec.Stage.model_fields["decode"].annotation),
    "tile_by": literals(spec.Stage.model_fields["tile_by"].annotation),
    "device": literals(spec.Stage.model_fields["device"].annotation),
    "part": literals(spec.Data.model_fields["part"].annotation),
    "share": literals(spec.Fleet.model_fields["share"].annotation),
    "placement": literals(spec.Train.model_fields["placement"].annotation),
}


# --- one mutator for each kind of mistake: (rng, name of the source) -> Case, or None if nothing came of it ------
