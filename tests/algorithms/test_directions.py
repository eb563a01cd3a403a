from functools import partial

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.directions import rademacher, signs

make = partial(jax.jit, static_argnums=1)(signs)
tree = jax.jit(rademacher)


GOLDEN = [
    "---++-+-----++-++-+--++-+-++----+-++-++-",
    "----+-+-+--+++-++--++-+-+-----+--+++-+++",
    "+-++---++++--++",
    "++--",
    "+++-----+",
]


def text(values):
    return "".join("+" if v > 0 else "-" for v in np.asarray(values).ravel())


def test_the_layout_is_frozen():
    """Golden values: if this fails, every journal replays to other parameters."""
    assert text(make(jax.random.key(0), (2, 20))) == GOLDEN[0]
    assert text(make(jax.random.key(2**31), (40,))) == GOLDEN[1]
    like = {"device": {"w": np.zeros((3, 5))}, "digital": {"b": np.zeros(9), "a": np.zeros(4)}}
    made = tree(jax.random.key(1), like)
    assert text(made["device"]["w"]) == GOLDEN[2]
    assert text(made["digital"]["a"]) == GOLDEN[3] and text(made["digital"]["b"]) == GOLDEN[4]


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(1,), (32,), (5, 13)]), st.integers(0, 2**32 - 1))
def test_entry_i_is_bit_i_of_the_random_words(shape, seed):
    key, n = jax.random.key(seed), int(np.prod(shape))
    words = np.asarray(jax.random.bits(key, ((n + 31) // 32,), "uint32"))
    bits = [(int(words[i // 32]) >> (i % 32)) & 1 for i in range(n)]
    made = np.asarray(make(key, shape))
    assert made.dtype == np.float32 and made.shape == shape
    assert np.array_equal(made.ravel(), 1.0 - 2.0 * np.array(bits))


def test_leaves_are_keyed_by_their_order_in_the_tree():
    like = {"b": np.zeros((4, 16)), "a": np.zeros((4, 16))}
    key = jax.random.key(5)
    made = tree(key, like)
    for i, name in enumerate("ab"):
        assert np.array_equal(made[name], make(jax.random.fold_in(key, i), (4, 16)))


def test_entries_have_mean_zero_and_leaves_and_keys_are_independent():
    n = 20_000
    like = [np.zeros(n), np.zeros(n)]
    rows = [leaf for k in range(3) for leaf in tree(jax.random.key(k), like)]
    rows = np.asarray(rows)
    assert np.array_equal(np.unique(rows), [-1.0, 1.0])
    bound = 5 / np.sqrt(n)
    assert np.abs(rows.mean(axis=1)).max() < bound
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < bound
    # nor do neighbours within a word, or the same bit of neighbouring words, know of each other
    for lag in (1, 31, 32):
        assert np.abs(np.mean(rows[:, lag:] * rows[:, :-lag], axis=1)).max() < bound
