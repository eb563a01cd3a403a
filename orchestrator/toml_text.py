"""What stands where in a TOML text, and what keeps it from being TOML.

`tomllib` tells no positions of keys. This reader finds them, knows nothing of values, and never fails: where the text
is no TOML it stops making sense, but not before.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
MISTAKES = 20  # told at once
DEEPEST = 20  # tables and lists within each other; no run file needs half of it

TOKEN = re.compile(
    r'''(?P<space>[ \t\r]+|\#[^\n]*)|(?P<newline>\n)
    |(?P<string>"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<bare>[\w-]+)|(?P<mark>[][{}=.,])|(?P<other>.)''',
    re.S | re.X,
)

# What tomllib says -> (what is wrong, how it must be).
HELP = (
    (r"Expected '=' after a key", "has no = after its key", "KEY = VALUE"),
    (r"Invalid value", "has no valid value", 'a number, true, false, "text" in quotes, [a list] or {a = "table"}'),
    (r"Unclosed array", "is a list that is not closed", "[1, 2], with commas between its entries and ] at its end"),
    (r"Unclosed inline table", "is a table that is not closed", "{a = 1, b = 2}, in one line, with } at its end"),
    (r"at the end of a(n| table| array)* declaration", "is not closed", "[table], or [[table]] for one of several"),
    (r"Illegal character|invalid character|Unterminated string|Expected \"'", "is text that does not end", '"text"'),
    (r"Unescaped '\\'", "has a single \\ in quotes", "\\\\, or 'text in single quotes'"),
    (r"Expected newline", "goes on after its value", "one KEY = VALUE a line; text in quotes, lists in [ ]"),
    (r"Invalid statement|Invalid initial character", "is no statement", "KEY = VALUE, [table], [[table]] or # comment"),
    (r"digits|recursion", "is beyond what can be read", "a number of a few digits, lists a few levels deep"),
)
TWICE = r"Cannot declare|Cannot overwrite|Cannot mutate|Cannot redefine|Duplicate"


class Mistake(NamedTuple):
    """Where a text is not TOML: `key` if it stands there twice, else the line."""

    line: int
    key: Path
    text: str
    wrong: str
    allowed: str


def find_line(text: str, where: Path) -> int | None:
    """The line (from 1) of the longest beginning of `where` that the text spells out."""
    lines = _lines(text)
    return next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), None)


@lru_cache(maxsize=4)
def _lines(text: str) -> dict[Path, int]:
    found: dict[Path, int] = {}
    for path, line in _Reader(text).entries():
        for n in range(1, len(path) + 1):
            found.setdefault(path[:n], line)
    return found


class _Reader:
    """Tables, arrays of tables, dotted keys, inline tables and lists, over any number of lines."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        self.found: list[tuple[Path, int]] = []
        self.opened: list[int] = []  # lines of the brackets of values that are open here
        line = 1
        for match in TOKEN.finditer(text):
            kind = str(match.lastgroup)
            if kind != "space":
                self.tokens.append((kind, match[0], line))
            line += match[0].count("\n")
        self.end = ("end", "", line)

    @property
    def next(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else self.end

    def take(self, *texts: str) -> bool:
        """Skip the next token if it is one of these."""
        yes = self.next[1] in texts and self.next[0] in ("mark", "newline")
        self.at += yes
        return yes

    def entries(self) -> list[tuple[Path, int]]:
        """(path, line) of every table, key and entry of a list, in order."""
        table: Path = ()
        last: dict[Path, int] = {}  # of each array of tables, its last index
        while self.next[0] != "end":
            line = self.next[2]
            if self.take("\n"):
                continue
            if self.take("["):
                several = self.take("[")
                table = ()
                names = self.key()
                for i, name in enumerate(names):
                    table += (name,)
                    if several and i == len(names) - 1:
                        last[table] = last.get(table, -1) + 1
                    if table in last:
                        table += (last[table],)
                self.found.append((table, line))
            else:
                path = table + self.key()
                self.found.append((path, line))
                if self.take("="):
                    self.value(path)
            while self.next[0] not in ("newline", "end"):
                self.at += 1
        return self.found

    def key(self) -> Path:
        parts: list[str | int] = []
        while self.next[0] in ("bare", "string"):
            kind, text, _ = self.next
            parts.append(_unquoted(text) if kind == "string" else text)
            self.at += 1
            if not self.take("."):
                break
        return tuple(parts)

    def value(self, path: Path) -> None:
        self.opened.append(self.next[2])
        if len(self.opened) > DEEPEST:
            self.at += 1
        elif self.take("["):
            index = 0
            while not self.take("]"):
                if self.next[0] == "end":
                    return
                if self.take("\n") or self.take(","):
                    continue
                self.found.append(((*path, index), self.next[2]))
                self.value((*path, index))
                index += 1
        elif self.take("{"):
            while not self.take("}"):
                line = self.next[2]
                if self.next[0] == "end":
                    return
                inner = path + self.key()
                if self.take("="):
                    self.found.append((inner, line))
                    self.value(inner)
                else:
                    self.at += 1
        else:
            while self.next[0] not in ("newline", "end") and self.next[1] not in (",", "]", "}"):
                if self.next[0] == "other" and self.next[1] in "\"'":
                    return  # text that does not end
                self.at += 1
        self.opened.pop()


def _unquoted(text: str) -> str:
    try:
        return str(tomllib.loads(f"v = {text}")["v"])
    except tomllib.TOMLDecodeError:
        return text.strip("\"'")


def too_deep(tree: Any) -> bool:
    """Whether tables and lists lie deeper within each other than can be handled without care."""
    level = [tree]
    for _ in range(DEEPEST):
        values = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [v for several in values for v in several]
    return any(isinstance(v, dict | list) for v in level)


def mistakes(text: str) -> list[Mistake]:
    """Why a text is not TOML; of several mistakes those that do not hide each other. Empty if it is TOML."""
    lines, found = text.split("\n"), list[Mistake]()
    if line := _long_key(text):
        wrong, allowed = "has a key of too many parts", f"a.b.c, {DEEPEST} parts at most"
        return [Mistake(line, (), lines[line - 1].strip(), wrong, allowed)]
    while len(found) < MISTAKES:
        try:
            tomllib.loads("\n".join(lines))
            break
        except (ValueError, RecursionError) as error:
            mistake, alone = _mistake(lines, str(error))
        found.append(mistake)
        if not alone:
            break  # what follows from this one cannot be told from what is wrong by itself
        lines[mistake.line - 1] = ""
    return found


def _long_key(text: str) -> int | None:
    """The line of a dotted key that `tomllib` would need gigabytes for."""
    dots, line = 0, 1
    for match in TOKEN.finditer(text):
        line += match[0].count("\n")
        if match[0] == "." and match.lastgroup == "mark":
            dots += 1
        elif match.lastgroup not in ("bare", "string", "space"):
            dots = 0
        if dots >= DEEPEST:
            return line
    return None


def _mistake(lines: list[str], error: str) -> tuple[Mistake, bool]:
    """(the mistake, whether it is one of a single line with a key)"""
    place = re.search(r"\(at line (\d+), column (\d+)\)", error)
    at, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
    reader = _Reader("\n".join([*lines[: at - 1], lines[at - 1][: column - 1]]))
    entries = reader.entries()
    header = lines[at - 1].partition("#")[0].strip()
    if header.startswith("[") and header.count("[") != header.count("]"):
        error = "Expected ']' at the end of a table declaration"
    if re.match(TWICE, error):
        path = entries[-1][0]
        path = path[:-1] if isinstance(path[-1], int) else path
        before = [(p, line) for p, line in entries[:-1] if p[: len(path)] == path]
        if not before:  # a closed table is extended: that table is there twice
            path = path[:-1]
            before = [(p, line) for p, line in entries[:-1] if p[: len(path)] == path]
        first = before[0][1] if before else at
        return Mistake(at, path, "", f"is given twice, first in line {first}", "each table and each key once"), _is_key(
            lines[at - 1]
        )
    line = reader.opened[0] if reader.opened else at
    if reader.opened and "initial character" in error:
        error = "Unclosed inline table"
    if not place and not reader.opened:
        line = next((n for n in range(len(lines), 0, -1) if not _is_value(lines[n - 1])), at)
    wrong, allowed = next(((w, a) for pattern, w, a in HELP if re.search(pattern, error)), (error, "TOML, see toml.io"))
    alone = line == at and not reader.opened and _is_key(lines[line - 1])
    return Mistake(line, (), lines[line - 1].strip(), wrong, allowed), alone


def _is_key(line: str) -> bool:
    """Whether a line may be blanked: it begins no table and is not blank already."""
    return bool(line.strip()) and not line.lstrip().startswith("[")


def _is_value(line: str) -> bool:
    """Whether a line by itself is TOML that int() can read."""
    try:
        tomllib.loads(line)
        return True
    except (ValueError, RecursionError):
        return False
