"""Clear refusals: every problem of a run file at once, each with file, line, field, value, what is allowed."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

M = TypeVar("M", bound=BaseModel)
MAX_BYTES = 1 << 20  # a run file is small; a larger one is a mistake


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where (path of keys), the value found, what is wrong, what is allowed."""

    where: tuple[str | int, ...]
    value: Any = field(hash=False)
    wrong: str
    allowed: Any = field(default=None, hash=False)
    near: str | None = None
    unknown: bool = False  # the key itself is unknown: the value is of no interest
    source: str | None = None  # the --set it came from
    example: str | None = None

    def describe(self, file: str, text: str, origin: dict) -> str:
        source = self.source or next((s for p, s in origin.items() if self.where[: len(p)] == p), None)
        place = f"--set {source}" if source else file + line_suffix(text, self.where)
        name = dotted(self.where)
        shown = "" if self.unknown else f" = {self.value!r}"
        parts = [f"{place}: {name}{shown} {self.wrong}"]
        if isinstance(self.allowed, (list, tuple)):
            parts.append("allowed: " + ", ".join(map(str, self.allowed)))
            close = self.near or nearest(str(self.where[-1] if self.unknown else self.value), self.allowed)
            if close:
                parts.append(f"did you mean {close}?")
        elif self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.example:
            parts.append(f"example: {self.example}")
        return "; ".join(parts)


class RunFileError(ValueError):
    """All problems of one file; `str()` has one line for each."""

    def __init__(self, problems: Iterable[Problem], file: str, text: str, origin: dict | None = None) -> None:
        self.problems = list(problems)
        lines = dict.fromkeys(p.describe(file, text, origin or {}) for p in self.problems)
        super().__init__("\n".join(lines))


def dotted(where: tuple[str | int, ...]) -> str:
    """("network", 0, "size") -> network[0].size"""
    out = ""
    for part in where:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The closest spelling among the allowed ones, if one is close."""
    return next(iter(difflib.get_close_matches(word, [str(a) for a in allowed], n=1, cutoff=0.5)), None)


def read_toml(path: str | Path) -> tuple[str, dict[str, Any]]:
    """(text, tree) of a TOML file. Raises `RunFileError` if it is missing, too large or not TOML."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError([Problem(("file",), str(path), f"is larger than {MAX_BYTES} bytes")], str(path), "")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        allowed = sorted(str(p) for p in folder.glob("*.toml"))
        problem = Problem(("file",), str(path), "does not exist", allowed=allowed or "an existing run file (TOML)")
        raise RunFileError([problem], str(path), "") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFileError([Problem(("file",), str(path), f"cannot be read: {error}")], str(path), "") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = re.sub(r"\s*\(at (.*)\)$", r" at \1", str(error))
        raise RunFileError([Problem(("file",), str(path), f"is not TOML: {message}")], str(path), "") from None


def validate(
    cls: type[M],
    tree: Any,
    file: str,
    text: str,
    origin: dict | None = None,
    more: Callable[[M], list[Problem]] = lambda model: [],
) -> M:
    """A pydantic model from a tree. Raises `RunFileError` with all its problems, and those that `more` finds in it.

    If fields have wrong types, `more` looks at the tree without them, so that one error does not hide another.
    """
    found: list[Problem] = []
    try:
        model = cls.model_validate(tree)
    except ValidationError as error:
        told = error.errors()
        nested = {e["loc"][:i] for e in told for i in range(len(e["loc"]))}
        told = [e for e in told if not (e["type"] == "too_short" and e["loc"] in nested)]  # follows from another
        found = [from_pydantic(e, cls) for e in told]
        try:
            model = cls.model_validate(_without(tree, [e["loc"] for e in told]))
        except ValidationError:
            raise RunFileError(found, file, text, origin) from None
    known = {p.where for p in found}
    found += [p for p in more(model) if not any(p.where[: len(w)] == w for w in known)]
    if found:
        raise RunFileError(found, file, text, origin)
    return model


def _without(tree: Any, places: list[tuple]) -> Any:
    """A copy of the tree without the values at `places` (a missing one that has no default: any that fits)."""
    tree = copy.deepcopy(tree)
    for place in places:
        node = tree
        try:
            for part in place[:-1]:
                node = node[part]
            if place[-1] in ("substrate", "size"):
                node[place[-1]] = {"substrate": "digital", "size": 1}[place[-1]]
            else:
                node.pop(place[-1], None)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return tree


def from_pydantic(error: Any, cls: type | None = None, prefix: tuple = ()) -> Problem:
    """One pydantic error as a `Problem`."""
    where = (*prefix, *error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(
            where, error["input"], "is not a field", allowed=_fields_at(cls, error["loc"][:-1]), unknown=True
        )
    if kind == "literal_error":
        allowed = [a.strip("' ") for a in re.split(r", | or ", context["expected"])]
        return Problem(where, error["input"], "is not allowed", allowed=allowed)
    if kind == "missing":
        return Problem(where, None, "is missing", unknown=True)
    message = error["msg"][0].lower() + error["msg"][1:]
    return Problem(where, error["input"], message.replace("input should be", "should be"))


def _fields_at(cls: Any, loc: tuple) -> list[str]:
    """The fields of the model that lies at `loc` below `cls`."""
    for part in loc:
        if isinstance(part, int):
            continue
        annotation = cls.model_fields[part].annotation if part in getattr(cls, "model_fields", {}) else None
        candidates = [annotation, *typing.get_args(annotation)]
        candidates += [a for c in list(candidates) for a in typing.get_args(c)]
        cls = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), cls)
    return list(getattr(cls, "model_fields", {}))


def options_problems(
    cls: type, options: dict[str, Any], where: tuple, base: type[BaseModel], hidden: tuple[str, ...] = ()
) -> list[Problem]:
    """Further keys of a table against the fields (types and bounds) of a plug-in's dataclass."""
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in hidden}
    hints = _hints(cls)
    found = []
    for key, value in options.items():
        if key not in fields:
            allowed = [*base.model_fields, *fields]
            found.append(Problem((*where, key), value, "is not a field", allowed=allowed, unknown=True))
            continue
        try:
            TypeAdapter(hints[key], config=ConfigDict(strict=False)).validate_python(value)
        except ValidationError as error:
            found += [from_pydantic(e, prefix=(*where, key)) for e in error.errors()]
        else:
            if isinstance(value, float) and not math.isfinite(value):
                found.append(Problem((*where, key), value, "is not a finite number"))
    return found


def option_names(cls: Any) -> set[str]:
    """The fields of a plug-in's dataclass that a run file may set."""
    return {f.name for f in dataclasses.fields(cls) if f.init}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def line_suffix(text: str, where: tuple[str | int, ...]) -> str:
    """`:LINE` of the deepest part of `where` that the TOML text spells out, or nothing."""
    line = find_line(text, where)
    return f":{line}" if line else ""


def find_line(text: str, where: tuple[str | int, ...]) -> int | None:
    """The line of a key in TOML text: tables, arrays of tables and dotted keys are followed, inline tables by line."""
    table: tuple[str | int, ...] = ()
    counts: dict[tuple, int] = {}
    best, depth = None, 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        header = re.match(r"(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$", line)
        if header and not line.startswith("[["[:1] + '"'):
            path: tuple[str | int, ...] = ()
            for part in _split_key(header[2]):
                path += (part,)
                if path in counts and not (header[1] == "[[" and len(path) == _key_length(header[2], counts, path)):
                    path += (counts[path],)
            if header[1] == "[[":
                counts[path] = counts.get(path, -1) + 1
                path += (counts[path],)
            table = path
            here = table
        elif match := re.match(r"""((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"))*)\s*=""", line):
            here = table + tuple(_split_key(match[1]))
        else:
            continue
        common = 0
        for a, b in zip(here, where, strict=False):
            if a != b:
                break
            common += 1
        if common == min(len(here), len(where)) and common > depth:
            best, depth = number, common
    return best


def _split_key(key: str) -> list[str]:
    return [part.strip().strip("\"'") for part in key.split(".")]


def _key_length(key: str, counts: dict, path: tuple) -> int:
    """Length of `path` when the last part of a [[header]] has been reached (its index is not yet appended)."""
    names = len(_split_key(key))
    return names + sum(isinstance(p, int) for p in path)
