"""No two measurements share a noise key: if both sides of a pair did, their noise would cancel and prove nothing."""

import itertools

import jax
import numpy as np

from orchestrator.core import keys
from orchestrator.core.keys import NOISE_KEYS
from physics.contracts import Noise
from physics.substrates.crossbar import Crossbar
from physics.substrates.oscillators import Oscillators


@jax.jit
def fold_all(chips, versions, requests, samples):
    """The data of every key: of all writes, and of all readings."""
    writes = jax.vmap(lambda c: jax.vmap(lambda v: NOISE_KEYS.program(c, v))(versions))(chips)
    reads = jax.vmap(lambda c: jax.vmap(lambda r, i: NOISE_KEYS.read(c, r, i))(requests, samples))(chips)
    return jax.random.key_data(writes), jax.random.key_data(reads)


def test_keys_of_different_writes_readings_and_chips_differ():
    chips = jax.numpy.stack(
        [keys.derive(s, keys.NOISE, *c) for s in (0, 1) for c in itertools.product(range(2), repeat=3)]
    )
    versions = np.array(list(itertools.product(range(8), range(3), range(4))), np.int32)
    readings = np.array(list(itertools.product(range(3), range(6), range(2), range(4), range(5))), np.int32)
    data = fold_all(chips, versions, readings[:, :4], readings[:, 4])
    every = np.concatenate([np.asarray(d).reshape(-1, 2) for d in data])
    assert len(every) == len(chips) * (len(versions) + len(readings))
    assert len(np.unique(every, axis=0)) == len(every)


def test_purposes_and_owners_have_keys_of_their_own():
    owners = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 0)]
    made = [keys.derive(seed, purpose, *words) for seed in (0, 1) for purpose in range(11) for words in owners]
    assert len({np.asarray(jax.random.key_data(k)).tobytes() for k in made}) == len(made)


def test_every_reading_of_one_write_has_noise_of_its_own_and_the_same_reading_the_same(bench):
    model = Oscillators(3, 3)  # no mismatch: chips differ by their noise only
    params = {"device": {"J": np.zeros(3, np.float32), "e": np.zeros(3, np.float32)}, "digital": {}}
    x = np.full((1, 4, 3), 0.5, np.float32)
    versions = [(0, 0, 0)] * 4

    def measure(chip, requests, first_sample=0):
        b = bench(model, chip)
        return np.asarray(b.simulated.execute(b.request(params, x, versions, requests, first_sample=first_sample)).v)

    base = measure(1, [(0, 0, 0, r) for r in range(4)])
    others = [
        measure(1, [(0, 1, 0, r) for r in range(4)]),  # another step
        measure(1, [(1, 0, 0, r) for r in range(4)]),  # another purpose
        measure(1, [(0, 0, 1, r) for r in range(4)]),  # another group
        measure(1, [(0, 0, 0, r) for r in range(4)], first_sample=4),  # the next samples of the batch
        measure(2, [(0, 0, 0, r) for r in range(4)]),  # another chip
    ]
    every = np.concatenate([v.ravel() for v in (base, *others)])
    assert len(np.unique(every)) > len(every) - 3  # float32 may repeat a value by chance
    assert np.array_equal(base, measure(1, [(0, 0, 0, r) for r in range(4)]))
    # the name of a sample counts, not how its batch was cut
    shifted = measure(1, [(0, 0, 0, r) for r in range(4)], first_sample=2)
    np.testing.assert_allclose(shifted[:, :2], base[:, 2:], atol=1e-6)


PAIRS = 4000


def shared_read(key, request, sample):
    """A planted mistake: the two sides of a pair are rows of one request, and read with one key."""
    return NOISE_KEYS.read(key, request.at[3].set(0), sample)


def spread_of_pairs(b, same_write=False):
    """var(L+ - L-) / (var L+ + var L-) of many pairs of losses at c = 0; 1 - correlation if they are Gaussian."""
    w = np.float32([[0.8, -0.3], [-0.5, 0.6], [0.2, 0.1]])
    x = np.float32([[[1.0, -0.5], [0.5, 1.0]]])
    rows = [(step, row) for step in range(PAIRS) for row in (0, 1)]
    request = b.request(
        {"device": {"w": w}, "digital": {}},
        x,
        [(step, 1, 0 if same_write else row) for step, row in rows],  # every step has moved the parameters
        [(keys.TRAIN, step, 0, row) for step, row in rows],
    )
    v = np.asarray(b.simulated.execute(request).v, np.float64)
    losses = np.log(np.exp(v).sum(-1)) - v[:, np.arange(2), [0, 1]]  # cross-entropy
    plus, minus = losses.mean(axis=1).reshape(PAIRS, 2).T
    assert np.std(plus) > 0.01
    return np.var(plus - minus) / (np.var(plus) + np.var(minus))


def test_the_difference_of_a_pair_at_c_zero_has_twice_the_variance_of_a_loss(bench):
    error = 1 / np.sqrt(PAIRS)
    honest = bench(Crossbar(2, 2))
    assert abs(spread_of_pairs(honest) - 1) < 5 * error
    # and the check would notice: sides that share their read noise, or one write, cancel it
    assert spread_of_pairs(honest, same_write=True) < 1 - 10 * error
    assert spread_of_pairs(bench(Crossbar(2, 2), noise=Noise(NOISE_KEYS.program, shared_read))) < 1 - 10 * error
