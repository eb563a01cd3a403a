"""Who may know of whom, read from the sources: the methods know no physics, the core knows no method."""

import ast
import re
from pathlib import Path

import pytest

import algorithms
from algorithms import registry

ROOT = Path(algorithms.__file__).parents[1]
FORBIDDEN = {
    "algorithms": {"physics", "orchestrator", "ray", "mlflow"},
    "physics": {"algorithms", "orchestrator", "ray", "mlflow"},
}
OURS = [(room, path) for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]
CORE = sorted((ROOT / "orchestrator" / "core").rglob("*.py"))


def relative(path):
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else path


def imported(source):
    """The packages that a source imports, anywhere in it; names given to `import_module` count too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__"):
                found.add(str(node.args[0].value).partition(".")[0])
    return found


@pytest.mark.parametrize(("room", "path"), OURS, ids=relative)
def test_physics_and_algorithms_import_neither_each_other_nor_a_framework(room, path):
    assert not imported(path.read_text()) & FORBIDDEN[room]


def method_names():
    """Every word that would betray a method: registry names, classes, files."""
    words = set(registry.METHODS)
    for target in registry.METHODS.values():
        module, _, cls = target.partition(":")
        words |= {cls, module.rpartition(".")[2]}
    return words


def mentions(source, words):
    return [w for w in words if re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", source, re.IGNORECASE)]


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_no_method_is_named_in_the_core(path):
    assert mentions(path.read_text(), method_names()) == []


def test_these_checks_would_find_what_they_look_for():
    assert imported("def f():\n    from physics.twin import vjp") == {"physics"}
    assert imported("import ray.util as r\nx = importlib.import_module('mlflow.client')") == {"ray", "mlflow"}
    assert set(mentions("if method == 'SPSA':  # or in-silico-noise", method_names())) == {
        "SPSA",
        "spsa",
        "in-silico-noise",
    }
    assert mentions("spsar", method_names()) == []
    assert len(OURS) > 15 and len(CORE) > 8
