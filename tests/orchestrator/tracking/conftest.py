"""Empty stores, and journals that are closed."""

import shutil
import warnings

import pytest

from tests.orchestrator.tracking.tracked import OPEN, stores


@pytest.fixture(autouse=True)
def close_journals():
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty MLflow database: making one takes longer than most of these tests."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stores._make(path)
    return path


@pytest.fixture
def uri(template, tmp_path):
    """A store of this test."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copy(template, tmp_path / "runs" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "digits"
