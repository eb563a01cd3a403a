"""Broken run files, made of the valid ones, with what must be told of each; the same in every run."""

import random
import re
import string
import tomllib
from typing import NamedTuple

from algorithms import registry as methods
from orchestrator.data import LOADERS
from tests.orchestrator.sources import NAMES, SOURCES, dotted, keys_of, lines_of, replaced


class Case(NamedTuple):
    """A broken text; the line and the field (or the text of the line) that must be told, and the right spelling."""

    kind: str
    text: str
    line: int
    named: str
    near: str | None = None


def misspelt(rng, word):
    """One mistake of a typist."""
    letters = [i for i, c in enumerate(word) if c.isalpha()]
    i = rng.choice(letters)
    how = rng.choice(["drop", "double", "swap", "replace", "case", "dash"])
    if how == "drop" and len(word) > 2:
        return word[:i] + word[i + 1 :]
    if how == "double":
        return word[:i] + word[i] + word[i:]
    if how == "swap" and i + 1 < len(word):
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if how == "case":
        return rng.choice([word.upper(), word.capitalize(), word[:i] + word[i].upper() + word[i + 1 :]])
    if how == "dash" and ("_" in word or "-" in word):
        return word.translate(str.maketrans("_-", "-_"))
    return word[:i] + rng.choice(string.ascii_lowercase) + word[i + 1 :]


def a_misspelt_key(rng, source):
    text = SOURCES[source]
    line = rng.choice([k for k in lines_of(text)[0] if "." not in k.key])
    wrong = misspelt(rng, line.key)
    if wrong in keys_of(line.table, text):
        return None
    new = replaced(text, line.number, f"{line.indent}{wrong} = {line.value}")
    return Case("misspelt key", new, line.number + 1, dotted(line.table, wrong), line.key)


def a_misspelt_table(rng, source):
    text = SOURCES[source]
    headers = lines_of(text)[1]
    number = rng.choice(list(headers))
    parts = headers[number].split(".")
    at = rng.randrange(len(parts))
    right, parts[at] = parts[at], misspelt(rng, parts[at])
    line = text.split("\n")[number]
    new = replaced(text, number, line.replace(headers[number], ".".join(parts)))
    if parts[at] in (right, *methods.names()) or not is_toml(new):
        return None
    named = re.sub(r"^network\.", "network[0].", ".".join(parts[: at + 1]))
    return Case("misspelt table", new, number + 1, named, right)


def a_misspelt_name(rng, source):
    text = SOURCES[source]
    line = rng.choice([k for k in lines_of(text)[0] if k.value.startswith('"')])
    allowed = LOADERS if line.table == "data" and line.key == "name" else NAMES.get(line.key, methods.names())
    right = line.value.strip('"')
    wrong = misspelt(rng, right)
    if wrong in allowed:
        return None
    new = replaced(text, line.number, f'{line.key} = "{wrong}"')
    named = dotted(line.table, line.key) + (".name" if line.key == "method" else "")
    return Case("misspelt name", new, line.number + 1, f"{named} = '{wrong}'", right)


def a_wrong_value(kind, values):
    """Another value in the place of one that `values` knows what to do with."""

    def mutator(rng, source):
        text = SOURCES[source]
        line = rng.choice(lines_of(text)[0])
        wrong = rng.choice(values(line.value) or [""])
        if not wrong:
            return None
        new = replaced(text, line.number, f"{line.key} = {wrong}")
        return Case(kind, new, line.number + 1, dotted(line.table, line.key))

    return mutator


def other_types(value):
    if re.match(r"[\d.]", value):
        return ['"many"', f'"{value}"', "true", "[1]", "{a = 1}", "1979-05-27"]
    if value in ("true", "false"):
        return ["0", "1", '"yes"', "[true]", "{a = 1}"]
    if value.startswith('"'):
        return ["3", "true", "[1.5]"]
    return ["3", "true", '"text"']


def numbers(*wrong):
    return lambda value: wrong if re.match(r"[\d.]", value) else ()


def long_texts(value):
    return ['"' + "x" * 10_000 + '"'] if re.match(r'[\d."]', value) else ()


def broken_toml(rng, source):
    text = SOURCES[source]
    lines, (keys, headers) = text.split("\n"), lines_of(text)
    how = rng.choice(["=", "quote", "opening quote", "[", "]", "list", "key twice", "table twice", "two"])
    if how in ("[", "]"):
        number = rng.choice(list(headers))
        lines[number] = lines[number].replace(how, "", 1)
        return Case("TOML", "\n".join(lines), number + 1, lines[number].strip()[:30])
    if how == "table twice":
        tables = [n for n in headers if not lines[n].startswith("[[") and "network" not in headers[n]]
        if not tables:
            return None
        name = headers[rng.choice(tables)]
        return Case("TOML", f"{text.rstrip()}\n[{name}]\nx = 1\n", text.rstrip().count("\n") + 2, name)
    fitting = {"quote": '"', "opening quote": '"', "list": "["}.get(how, "")
    line = rng.choice([k for k in keys if k.value.startswith(fitting)] or keys)
    new = {
        "=": f"{line.key} {line.value}",
        "quote": f"{line.key} = {line.value[:-1]}",
        "opening quote": f"{line.key} = {line.value[1:]}",
        "list": f"{line.key} = {line.value[:-1]}",
        "two": f"{line.key} = {line.value} {line.value}",
        "key twice": f"{line.key} = {line.value}\n{line.key} = {line.value}",
    }[how]
    lines[line.number] = new
    if how == "key twice":
        return Case("TOML", "\n".join(lines), line.number + 2, dotted(line.table, line.key))
    broken = "\n".join(lines)
    return None if is_toml(broken) else Case("TOML", broken, line.number + 1, new.strip())


def is_toml(text):
    try:
        tomllib.loads(text)
        return True
    except ValueError:
        return False


def other_shape(rng, source):
    """One table where a list of tables is wanted, a list where one is wanted, a table where a value is wanted."""
    text = SOURCES[source]
    lines, (keys, headers) = text.split("\n"), lines_of(text)
    number = rng.choice(list(headers))
    name = headers[number]
    if not rng.randrange(3):
        line = rng.choice(keys)
        lines[line.number] = f"{line.key} = [[{line.value}], []]"
        return Case("shape", "\n".join(lines), line.number + 1, dotted(line.table, line.key))
    if lines[number].startswith("[["):
        if list(headers.values()).count(name) > 1 or any(n.startswith(f"{name}.") for n in headers.values()):
            return None
        lines[number] = f"[{name}]"
    else:
        lines[number] = f"[[{name}]]"
    if not is_toml("\n".join(lines)):
        return None
    return Case("shape", "\n".join(lines), number + 1, re.sub(r"^network\.", "network[0].", name))


def wrong_reference(rng, source):
    """Something that fits by itself, but not to the rest."""
    text = SOURCES[source]
    keys, headers = lines_of(text)
    how = rng.choice(["classes", "chunk", "compare", "method", "size", "samples", "path", "tiles", "fleet", "entry"])
    lines = text.split("\n")
    stages = [k for k in keys if k.table.startswith("network[") and k.key == "size"]
    if how == "classes":
        number, new, named = stages[-1].number, "size = 12", f"{stages[-1].table}.size = 12"
    elif how == "tiles":
        number, new, named = stages[0].number, f"{lines[stages[0].number]}\ntiles = 63", "tiles"
        if any(k.table == stages[0].table and k.key == "tiles" for k in keys):
            return None
    elif how == "method":
        number, new = stages[0].number, f"{lines[stages[0].number]}\nmethod = 'magic'"
        named = "network[0].method.name = 'magic'"
        if any(k.table.startswith(f"{stages[0].table}.method") for k in keys):
            return None
    elif how in ("compare", "entry"):
        number, new, named = len(lines) - 1, "[compare.magic]\nrate = 0.1\n", "compare.magic"
        if how == "entry":
            new, named = '[compare.in-silico]\nname = "dfa"\n', "compare.in-silico.name"
        if new.split("\n")[0].strip("[]") in headers.values():
            return None
    else:
        table, new, named = {
            "chunk": ("train", "chunk = 37", "train.chunk = 37"),
            "size": ("data", "size = [3, 5]", "data.size = [3, 5]"),
            "samples": ("data", "train_samples = 1000000", "data.train_samples = 1000000"),
            "path": ("data", 'path = "/no/such/folder"', "data.path = '/no/such/folder'"),
            "fleet": ("fleet", "wavelength = 1.5", "fleet.wavelength"),
        }[how]
        of = [n for n, name in headers.items() if name == table]
        if not of or any(k.table == table and k.key == new.split(" ")[0] for k in keys):
            return None
        number, new = of[0], f"[{table}]\n{new}"
    lines[number] = new
    line = number + 1 + ("\n" in new and how not in ("compare",))
    return Case("reference", "\n".join(lines), line, named)


MUTATORS = (
    a_misspelt_key,
    a_misspelt_table,
    a_misspelt_name,
    a_wrong_value("type", other_types),
    a_wrong_value("range", numbers("-1", "-0.5", str(10**30), "1e39", "-1e400", "0x" + "f" * 5000)),
    a_wrong_value("no number", numbers("nan", "inf", "-inf", "1e400")),
    a_wrong_value("long text", long_texts),
    broken_toml,
    other_shape,
    wrong_reference,
)
CASES = 240


def mutants():
    """CASES broken run files, the same in every run: the kinds and the sources take turns."""
    rng, found, texts = random.Random(20), [], set()
    while len(found) < CASES:
        for mutator in MUTATORS:
            case = mutator(rng, rng.choice(list(SOURCES)))
            if case is not None and case.text not in texts:
                texts.add(case.text)
                found.append(case)
    return found


def pairs():
    """Two mistakes in one file: (text, case, case), in places that have nothing to do with each other."""
    rng, found = random.Random(5), []
    while len(found) < 60:
        source = rng.choice([s for s in SOURCES if s != "small.toml"])
        a, b = (rng.choice(MUTATORS[:6])(rng, source) for _ in range(2))
        if a is None or b is None or table_of(source, a) == table_of(source, b):
            continue
        found.append((replaced(a.text, b.line - 1, b.text.split("\n")[b.line - 1]), a, b))
    return found


def table_of(source, case):
    """The table at the top that a mistake is in."""
    before = [name for number, name in lines_of(SOURCES[source])[1].items() if number < case.line]
    return before[-1].split(".")[0] if before else ""
