"""Which store is meant, and what is imported for it."""

import ast
import subprocess
import sys

import pytest

from orchestrator.problems import RunFileError
from orchestrator.public import public
from orchestrator.tracking import resolve
from tests.orchestrator.tracking.tracked import (
    ENV,
    ROOT,
    stores,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's way with SQLAlchemy


# --- which store ------------------------------------------------------------------------------------------------------


def test_resolve_takes_the_option_then_the_environment_then_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PNN_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve(None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a:1")
    assert resolve(None) == "http://a:1"
    monkeypatch.setenv("PNN_TRACKING", "http://b:1")
    assert resolve(None) == "http://b:1"
    assert resolve("http://c:1") == "http://c:1"
    assert resolve("none") is None
    monkeypatch.setenv("PNN_TRACKING", "none")
    assert resolve(None) is None
    monkeypatch.setenv("PNN_TRACKING", "b.sqlite")
    with pytest.raises(RunFileError, match="^environment: PNN_TRACKING = 'b.sqlite' is no tracking store"):
        resolve(None)


def test_resolve_accepts_what_mlflow_can_use(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for told_ in (
        "https://h/x",
        "databricks",
        "databricks://p",
        "postgresql+psycopg2://u:p@h/d",
        "mysql://h/d",
        "mssql://h/d",
    ):
        assert resolve(told_) == told_
    for told_ in ("a.db", "./a.db", "sqlite:///a.db", f"sqlite:///{tmp_path}/a.db", f"{tmp_path}/a.db"):
        assert resolve(told_) == f"sqlite:///{tmp_path}/a.db"


@pytest.mark.parametrize(
    ("told_", "near"),
    [
        ("file:./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("file:///a/mlruns", "sqlite:////a/mlruns/mlflow.db"),
        ("./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("postgres://u:geheim@h/d", "postgresql://u:***@h/d"),
        ("localhost:5000", "http://localhost:5000"),
        ("htp://h:1", "http://h:1"),
        ("databrick", "databricks"),
        ("sqlite://", "sqlite:///runs/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///runs/mlflow.db"),
        ("http:", "http://HOST:PORT"),
        ("a?b.db", None),
        ("", None),
        ("xyz", None),
    ],
)
def test_resolve_refuses_the_rest_and_names_the_nearest_form(told_, near):
    with pytest.raises(RunFileError) as refusal:
        resolve(told_)
    said = str(refusal.value)
    assert (
        said.startswith("command line: --tracking = ") and "allowed: sqlite:///FILE.db" in said and "geheim" not in said
    )
    assert (f"did you mean {near}?" in said) if near else ("did you mean" not in said)


def test_public_hides_passwords():
    assert public("postgresql://u:p@w@h/d") == "postgresql://u:***@h/d"
    assert public("mssql://h/d?Password=abc&x=1") == "mssql://h/d?Password=***&x=1"
    with pytest.raises(stores.StoreError, match="^OSError: no route to http://u:.{3}@h$"), stores._calls():
        raise OSError("no route to http://u:geheim@h")
    assert public("sqlite:////a/b.db") == "sqlite:////a/b.db" and public("http://h:5000/x") == "http://h:5000/x"


# --- what is imported -------------------------------------------------------------------------------------------------


def test_only_the_store_imports_mlflow():
    found = set()
    for package in ("orchestrator", "algorithms", "physics"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                if any(name.partition(".")[0] == "mlflow" for name in names):
                    found.add(str(path.relative_to(ROOT)))
    assert found == {"orchestrator/tracking/store.py"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("orchestrator.tracking", ("numpy", "jax", "ray", "mlflow")),
        ("orchestrator.tracking.tracker", ("jax", "ray", "mlflow")),
        ("orchestrator.cli.tracking", ("jax", "ray", "mlflow")),
        ("orchestrator.tracking.__main__", ("jax", "ray", "mlflow")),
        ("orchestrator.tracking.store", ("jax", "ray")),
    ],
)
def test_nothing_heavy_is_imported(module, heavy):
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENV, timeout=60)
    assert done.stdout == "[]\n", done.stderr
