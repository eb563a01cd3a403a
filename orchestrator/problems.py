"""Clear refusals: every problem of a run file at once, each with file, line, field, value, what is allowed."""

from __future__ import annotations

import copy
import inspect
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator import toml_text
from orchestrator.spelling import nearest

M = TypeVar("M", bound=BaseModel)
Where = tuple[str | int, ...]
MAX_BYTES = 1 << 20  # a run file is small; a larger one is a mistake
MOST = 100  # problems that are told; who has more has one that they follow from
ROUNDS = 12  # of looking again with the mistakes mended that were found before
LARGEST_INT, LARGEST_FLOAT = 2**31 - 1, 3.4e38  # what 32 bits hold: chips and programs compute with no more

# What pydantic calls an error -> how the value must be.
SHOULD = {
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": f"a whole number up to {LARGEST_INT}", "float_type": "a number", "float_parsing": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": 'text in quotes: "..."', "tuple_type": "a list: [...]", "list_type": "a list: [...]",
    "model_type": "a table", "model_attributes_type": "a table", "dict_type": "a table",
}  # fmt: skip
KINDS = {bool: "bool_type", int: "int_type", float: "float_type", str: "string_type"}


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where (path of keys), the value found, what is wrong, what is allowed."""

    where: Where
    value: Any = field(hash=False)
    wrong: str
    allowed: Any = field(default=None, hash=False)
    near: str | None = None
    unknown: bool = False  # the key itself is unknown, or missing: there is no value of interest
    source: str | None = None  # the --set it came from
    example: str | None = None
    line: int | None = None  # if it is not that of `where`
    instead: Any = field(default=None, hash=False)  # a value with which checks can go on
    given: tuple[Where, ...] = ()  # further fields without which this is no problem

    def describe(self, file: str, text: str, origin: dict) -> str:
        source = self.source or next((s for p, s in origin.items() if self.where[: len(p)] == p), None)
        line = self.line or toml_text.find_line(text, self.where)
        place = f"--set {source}" if source else f"{file}:{line}" if line else file
        name, value = dotted(self.where), "" if self.unknown else shown(self.value)
        parts = [f"{place}: {name}{' = ' if name and value else ''}{value} {self.wrong}"]
        if isinstance(self.allowed, (list, tuple)):
            parts.append("allowed: " + ", ".join(map(str, self.allowed)))
        elif self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.unknown and self.wrong == UNKNOWN:
            from orchestrator.places import elsewhere

            right = elsewhere(str(self.where[-1]))
            parts += [f"this key exists at {', '.join(right)}"] if right else []
        if self.example:
            parts.append(f"example: {self.example}")
        if close := self.nearest():
            parts.append(f"did you mean {close}?")
        return "; ".join(parts)

    def nearest(self) -> str | None:
        """The spelling that was probably meant, of the key if it is unknown, else of the value."""
        word = self.where[-1] if self.unknown else self.value
        if self.near or not isinstance(self.allowed, (list, tuple)) or not isinstance(word, str):
            return self.near
        return nearest(word, self.allowed)


UNKNOWN = "is not a field"


class RunFileError(ValueError):
    """All problems of one file; `str()` has one line for each."""

    def __init__(self, problems: Iterable[Problem], file: str, text: str, origin: dict | None = None) -> None:
        self.problems = sorted(problems, key=lambda p: p.line or toml_text.find_line(text, p.where) or 0)
        lines = list(dict.fromkeys(p.describe(file, text, origin or {}) for p in self.problems[:MOST]))
        if len(self.problems) > MOST:
            lines.append(f"{file}: and there are more; these should be mended first")
        super().__init__("\n".join(lines))


def dotted(where: Where) -> str:
    """("network", 0, "size") -> network[0].size"""
    out = ""
    for part in where:
        name = part if isinstance(part, int) or re.fullmatch(r"[\w-]+", part) else shown(part)
        out += f"[{name}]" if isinstance(part, int) else (f".{name}" if out else str(name))
    return out


def shown(value: Any) -> str:
    """A value in one line, of any length."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # Python refuses to print whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"


def read_toml(path: str | Path) -> tuple[str, dict[str, Any]]:
    """(text, tree) of a TOML file. Raises `RunFileError` if it is missing, too large or not TOML."""
    path = Path(path)
    allowed: Any = "a run file (TOML, in UTF-8)"

    def refusal(wrong: str) -> RunFileError:
        return RunFileError([Problem(("file",), str(path), wrong, allowed=allowed)], str(path), "")

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise refusal(f"is larger than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        allowed = sorted(str(p) for p in folder.glob("*.toml")) or allowed
        raise refusal("does not exist") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, RunFileError):
            raise
        raise refusal(f"cannot be read: {error}") from None
    if mistakes := toml_text.mistakes(text):
        raise RunFileError([_not_toml(m) for m in mistakes], str(path), text)
    tree = tomllib.loads(text)
    if toml_text.too_deep(tree):
        raise refusal(f"has more than {toml_text.DEEPEST} tables and lists within each other")
    return text, tree


def _not_toml(mistake: toml_text.Mistake) -> Problem:
    if mistake.key:
        return Problem(mistake.key, None, mistake.wrong, allowed=mistake.allowed, unknown=True, line=mistake.line)
    wrong = f"is not TOML: it {mistake.wrong}"
    return Problem((), mistake.text, wrong, allowed=mistake.allowed, line=mistake.line)


def validate(
    cls: type[M],
    tree: Any,
    file: str,
    text: str,
    origin: dict | None = None,
    more: Callable[[M], list[Problem]] = lambda model: [],
) -> M:
    """A pydantic model from a tree. Raises `RunFileError` with all its problems, and those that `more` finds in it.

    What is found is mended for the time being, and the rest looked at again, so that no mistake hides another.
    """
    found: list[Problem] = []
    seen: set[Where] = set()
    lost: set[Where] = set()  # places of which nobody can know what was meant
    spelt: dict[Where, Where] = {}  # where a misspelt key would be right -> where it stands
    for _ in range(ROUNDS):
        try:
            model = cls.model_validate(tree)
        except ValidationError as error:
            new = _from_errors(error, cls)
        else:
            new = misread(tree, model.model_dump()) or more(model)
            if not (new or found):
                return model
        new = [p for p in new if not (_within(p.where, seen | lost) or any(_within(w, lost) for w in p.given))]
        new = new[: MOST + 1 - len(found)]
        if not new:
            break
        found += [replace(p, where=_stands(p.where, spelt)) for p in new]
        seen |= {p.where for p in new}
        tree = copy.deepcopy(tree)
        lost |= {place for p in new if (place := _mend(tree, p, spelt))}
    raise RunFileError(found, file, text, origin)


def _within(where: Where, places: set[Where]) -> bool:
    return any(where[:n] in places for n in range(1, len(where) + 1))


def _stands(where: Where, spelt: dict[Where, Where]) -> Where:
    """Where a place stands in the text, with the misspelt keys above it."""
    right = next((where[:n] for n in range(len(where), 0, -1) if where[:n] in spelt), ())
    return spelt.get(right, ()) + where[len(right) :]


def _mend(tree: Any, problem: Problem, spelt: dict[Where, Where]) -> Where | None:
    """Put something right in the place of what is wrong; returns the place if nobody can know what was meant."""
    *above, key = problem.where
    node: Any = tree
    for part in above:
        inner = node if isinstance(node, dict) else dict(enumerate(node)) if isinstance(node, list) else {}
        if part not in inner:
            return None  # in a place that was mended just now
        node = inner[part]
    if isinstance(node, list):
        return _mend(tree, Problem(tuple(above), None, ""), spelt)
    if not isinstance(node, dict):
        return None
    near = problem.nearest()
    if problem.unknown and key in node:
        value = node.pop(key)
        if near and near not in node:
            node[near] = value
            spelt[(*above, near)] = (*_stands(tuple(above), spelt), key)
        return None
    if problem.instead is not None or near:
        node[key] = near if problem.instead is None else problem.instead
        return None
    stage = bool(above) and isinstance(above[-1], int)
    if key in ("name", "substrate"):  # then nothing of this table can be judged
        node.clear()
    node.pop(key, None)
    node.update({"substrate": "digital", "size": 64} if stage and key in ("name", "substrate") else {})
    node.update({"size": 64} if stage and key == "size" else {})
    node.update({"network": [{"substrate": "digital", "size": 10}]} if key == "network" else {})
    return tuple(above) if key in ("name", "substrate") else problem.where


def _from_errors(error: ValidationError, cls: type) -> list[Problem]:
    told = error.errors()
    nested = {e["loc"][:i] for e in told for i in range(len(e["loc"]))}
    told = [e for e in told if not (e["type"] == "too_short" and e["loc"] in nested)]  # follows from another
    return list(dict.fromkeys(from_pydantic(e, cls) for e in told[: MOST + 1]))


def from_pydantic(error: Any, cls: type | None = None, prefix: tuple = ()) -> Problem:
    """One pydantic error as a `Problem`."""
    where, value = (*prefix, *error["loc"]), error["input"]
    kind, context = error["type"], error.get("ctx", {})
    fields = _fields_at(cls, error["loc"][:-1])
    if kind == "extra_forbidden":
        return Problem(where, value, UNKNOWN, allowed=fields, unknown=True)
    if kind == "missing":
        for key in value if isinstance(value, dict) else ():
            if key not in fields and nearest(key, fields) == where[-1]:
                return Problem((*where[:-1], key), value[key], UNKNOWN, allowed=fields, unknown=True)
        return Problem(where, None, "is missing and must be given", unknown=True)
    if kind == "model_type" and where[-1] not in fields and (near := nearest(str(where[-1]), fields)):
        return Problem(where, value, UNKNOWN, allowed=fields, near=near, unknown=True)
    if kind == "literal_error":
        allowed = [a.strip("' ") for a in re.split(r", | or ", context["expected"])]
        return Problem(where, value, "is not allowed", allowed=allowed)
    if kind == "tuple_type" and isinstance(value, dict):
        return Problem(where, value, f"should be a list of tables, each begun by [[{dotted(where)}]]")
    if kind in SHOULD:
        return Problem(where, value, f"should be {SHOULD[kind]}")
    message = error["msg"].replace("Input should be", "should be").replace("Tuple should", "should")
    return Problem(where, value, message.replace(" after validation", ""))


def _fields_at(cls: Any, loc: tuple) -> list[str]:
    """The fields of the model that lies at `loc` below `cls`."""
    for part in loc:
        if isinstance(part, int):
            continue
        known = getattr(cls, "model_fields", {})
        further = inspect.get_annotations(cls, eval_str=True).get("__pydantic_extra__") if known else None
        annotation = known[part].annotation if part in known else further
        candidates = [annotation, *typing.get_args(annotation)]
        candidates += [a for c in list(candidates) for a in typing.get_args(c)]
        cls = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), cls)
    return list(getattr(cls, "model_fields", {}))


def misread(tree: Any, taken: Any, where: Where = ()) -> list[Problem]:
    """Values that pydantic takes for what they are not ("3" for 3, 1 for true), and numbers beyond 32 bits."""
    if isinstance(tree, dict) and isinstance(taken, dict):
        pairs: Iterable = ((k, v, taken[k]) for k, v in tree.items() if k in taken)
        return [p for k, v, t in pairs for p in misread(v, t, (*where, k))]
    if isinstance(tree, list | tuple) and isinstance(taken, list | tuple):
        return [p for i, (v, t) in enumerate(zip(tree, taken, strict=False)) for p in misread(v, t, (*where, i))]
    if {type(tree), type(taken)} & {bool, str} and type(tree) is not type(taken) and type(taken) in KINDS:
        return [Problem(where, tree, f"should be {SHOULD[KINDS[type(taken)]]}")]
    if isinstance(tree, int) and abs(tree) > LARGEST_INT:
        return [Problem(where, tree, "does not fit 32 bits", allowed=f"{-LARGEST_INT} to {LARGEST_INT}")]
    if isinstance(tree, float) and not abs(tree) <= LARGEST_FLOAT:
        wrong = "does not fit 32 bits" if math.isfinite(tree) else "is not a finite number"
        return [Problem(where, tree, wrong, allowed=f"a number between {-LARGEST_FLOAT} and {LARGEST_FLOAT}")]
    return []
