from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.directions import (
    TOGETHER,
    Mixture,
    align,
    dense,
    lazy_low_rank,
    lazy_normal,
    lazy_signs,
    mixture,
    rademacher,
    signs,
    threefry,
)
from tests.conftest import some_slow

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


# --- lazy leaves ------------------------------------------------------------------------------------------------------

KINDS = {
    "signs": lazy_signs,
    "normal": lazy_normal,
    "rank 1": partial(lazy_low_rank, rank=1),
    "rank 3": partial(lazy_low_rank, rank=3),
}
LIKE = {"w": np.zeros((70, 24), np.float32), "b": np.zeros(24, np.float32), "c": np.zeros((), np.float32)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31))
def test_words_are_those_of_jax(seed, first):
    key, first = jax.random.key(seed), np.uint32(first)
    data = jax.random.key_data(key)
    assert np.array_equal(jax.jit(threefry, static_argnums=(1, 2))(data, 0, 50), jax.random.bits(key, (50,), "uint32"))
    later = jax.jit(threefry, static_argnums=2)(data, first, 9)
    assert np.array_equal(later[3:], jax.jit(threefry, static_argnums=2)(data, first + np.uint32(3), 6))


def test_rows_are_those_of_the_whole(kind):
    made = jax.jit(lambda key: kind(key, LIKE))(jax.random.key(4))
    rows = jax.jit(lambda leaf, lo, n: leaf.rows(lo, n), static_argnums=2)
    for name, like in LIKE.items():
        whole = np.asarray(jax.jit(dense)(made[name]))
        assert whole.shape == like.shape and whole.dtype == np.float32
        if like.ndim:
            step = align(like.shape)
            for lo, n in ((0, 3), (step, len(like) - step), (2 * step, min(step, 5))):
                if n > 0 and lo + n <= len(like):
                    assert np.array_equal(rows(made[name], np.int32(lo), n), whole[lo : lo + n])


def test_entries_have_mean_zero_variance_one_and_are_uncorrelated(kind):
    many = jax.jit(jax.vmap(lambda k: dense(kind(k, {"w": np.zeros((6, 5))})["w"])))(
        jax.random.split(jax.random.key(1), 8000)
    )
    flat = np.asarray(many, np.float64).reshape(len(many), -1)
    bound = 5 / np.sqrt(len(flat))
    assert np.abs(flat.mean(axis=0)).max() < bound
    assert np.abs(flat.T @ flat / len(flat) - np.eye(30)).max() < 2 * bound


def test_normal_is_nearly_normal():
    leaf = lazy_normal(jax.random.key(2), {"w": np.zeros(100_000)})["w"]
    z = np.asarray(jax.jit(dense)(leaf), np.float64)
    assert len(np.unique(z)) <= 21 and np.abs(z).max() <= 10 / np.sqrt(8)
    assert np.mean(z**4) == pytest.approx(2.93, abs=5 * np.sqrt(96 / len(z)))


@pytest.mark.parametrize("K", some_slow([1, TOGETHER - 1, TOGETHER, 2 * TOGETHER + 3], quick=[1, TOGETHER]))
def test_a_mixture_is_the_sum_in_order_and_every_product_is_exact(kind, K):
    """Bit for bit what numpy adds in float32: so it is the same whether the compiler fuses or not."""
    coefficients = np.random.default_rng(K).normal(size=K).astype(np.float32)
    key = jax.random.key(9)

    def direction(k):
        return kind(jax.random.fold_in(key, k), LIKE)

    moved = jax.jit(lambda leaf, w, c: leaf.moved(w, c, 0))
    made = jax.jit(lambda c: dense(mixture(direction, c)))(coefficients)
    for name in LIKE:
        total = np.zeros_like(LIKE[name])
        for k in range(K):
            leaf = direction(k)[name]
            one = np.asarray(moved(leaf, np.atleast_1d(np.zeros_like(total)), coefficients[k]))
            total = total + one.reshape(total.shape)
        assert np.array_equal(made[name], total), name


def test_a_mixture_of_a_number_that_is_none_is_not_finite():
    leaf = mixture(lambda k: lazy_signs(jax.random.key(0), LIKE), jnp.array([1.0, np.nan]))["w"]
    assert isinstance(leaf, Mixture) and not leaf.finite()
