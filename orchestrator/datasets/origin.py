"""Where a published file comes from: how it is found, and what is told if it is missing or another one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.datasets.dataset import DataError


class Origin:
    """For records of published sets, which say their name, their source, and what to do about a file (`remedy`)."""

    name: str
    source: str
    remedy: str

    def refusal(self, path: Path | str, expected: str, found: str) -> DataError:
        says = f"{self.name}: {path}: expected {expected}, found {found}."
        return DataError(f"{says} {self.remedy} Origin: {self.source}")

    def below(self, folder: Path | None, name: str) -> Path:
        """`folder`, or the one of this name in the folder that PNN_DATA names. Raises `DataError` without either."""
        root = os.environ.get("PNN_DATA", "")
        if folder is None and not root:
            raise self.refusal("its folder", "PNN_DATA (an environment variable) or path", "neither")
        return folder or Path(root) / name

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Make a DataError of all that goes wrong; damage raises a dozen unrelated types in zipfile alone."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise self.refusal(path, "a file", "none") from None
        except Exception as error:
            raise self.refusal(path, "an intact file", f"{type(error).__name__} ({error})") from None

    def check(self, path: Path, content: bytes, sha256: str, expected: str) -> None:
        """Raises `DataError` if the content is not the published one."""
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise self.refusal(path, expected, found)
