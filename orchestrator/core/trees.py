"""Trees of arrays as flat arrays with names, for files without pickle, and back into the shape of a template."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

Tree = Any


def flatten(prefix: str, tree: Tree) -> dict[str, np.ndarray]:
    """{"PREFIX/path/of/leaf": array}; keys of random numbers become their words, bfloat16 whole numbers."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(prefix, path): np.asarray(_words(leaf)) for path, leaf in leaves}


def fill(prefix: str, template: Tree, arrays: dict[str, np.ndarray]) -> Tree:
    """A tree like `template` from the arrays of `flatten`. Raises ValueError if one is missing or of another shape."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    found = []
    for path, leaf in leaves:
        name, is_key = _name(prefix, path), jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        short = leaf.dtype == jax.numpy.bfloat16
        want = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
        want = jax.ShapeDtypeStruct(leaf.shape, np.uint16) if short else want
        value = arrays.get(name)
        if value is None or value.shape != want.shape or value.dtype != want.dtype:
            told = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
            raise ValueError(f"{name}: expected {want.dtype} {list(want.shape)}, found {told}")
        value = value.view(jax.numpy.bfloat16) if short else value
        found.append(jax.random.wrap_key_data(jax.numpy.asarray(value)) if is_key else value)
    return jax.tree_util.tree_unflatten(structure, found)


def sha256(arrays: dict[str, np.ndarray]) -> str:
    """Of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _name(prefix: str, path: Any) -> str:
    return f"{prefix}/{jax.tree_util.keystr(path, simple=True, separator='/')}"


def _words(leaf: Any) -> Any:
    if leaf.dtype == jax.numpy.bfloat16:
        return np.asarray(leaf).view(np.uint16)
    return _key_words(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


_key_words = jax.jit(jax.random.key_data)
