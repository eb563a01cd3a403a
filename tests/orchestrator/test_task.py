"""The readout and the batch: one output is a log-odds, samples are mixed, a batch stays as long as a method asks."""

import jax
import jax.numpy as jnp
import numpy as np

from algorithms.contracts import AS_IS, MIXED, RIGHT
from orchestrator import Run, train
from orchestrator.core import keys, task

H = np.random.default_rng(1).normal(size=(3, 5, 1)).astype(np.float32)
Y = np.array([0, 1, 1, 0, 1], np.int32)


def test_a_single_output_is_the_log_odds_of_the_second_class():
    two = np.concatenate([np.zeros_like(H), H], axis=-1)
    np.testing.assert_array_equal(task.losses(H, Y), task.losses(two, Y))
    np.testing.assert_allclose(jax.jit(task.cross_entropy)(H, Y), task.losses(two, Y), atol=1e-6)
    np.testing.assert_array_equal(task.answers(H), np.argmax(two, axis=-1))
    slope = jax.jit(jax.grad(lambda h: jnp.sum(task.losses(h, Y))))(H)
    np.testing.assert_allclose(task.error(H, Y), slope, atol=1e-6)
    np.testing.assert_allclose(task.error(H, Y)[..., 0], task.error(two, Y)[..., 1], atol=1e-6)


def test_slopes_are_the_derivatives_of_the_loss():
    rng = np.random.default_rng(2)
    h, moves = rng.normal(size=(1, 5, 4)).astype(np.float32), rng.normal(size=(2, 5, 4)).astype(np.float32)
    found = task.slopes(np.concatenate([h, moves]), Y)

    @jax.jit
    def derivative(move):
        return jax.jvp(lambda h: task.losses(h, Y)[0], (jnp.asarray(h),), (move[None],))[1]

    np.testing.assert_allclose(found[0], task.losses(h, Y)[0], atol=1e-6)
    for row in range(2):
        np.testing.assert_allclose(found[1 + row], derivative(moves[row]), atol=1e-5)


def test_a_mixed_sample_is_the_mean_with_another_of_the_batch():
    data = task.dataset(Run.build({"network": [{"substrate": "digital", "size": 10}]}).data)
    batch = task.batch(data, 0, 3, 16, False, True)
    assert not np.any(np.all(batch.mixed == batch.x, axis=1))
    others = 2 * batch.mixed - batch.x
    distance = np.abs(others[:, None] - batch.x[None]).max(-1)
    assert np.all(distance.min(1) < 1e-6), "the other one is of the same batch"
    rows = task.lay(batch, (AS_IS, MIXED), 10, False)
    np.testing.assert_array_equal(rows[0], batch.x)
    np.testing.assert_array_equal(rows[1], batch.mixed)
    laid = task.lay(batch, (RIGHT, MIXED), 10, True)
    assert np.all(laid[0, :, -10:].sum(1) == 1) and not np.any(laid[1, :, -10:])


def test_another_sample_is_never_the_same_one():
    for step in range(20):
        found = keys.others(7, step, 9)
        assert sorted(found) == list(range(9)) and np.all(found != np.arange(9))


def test_parameters_held_in_bfloat16_train_and_replay(tmp_path):
    from orchestrator.replay import replay

    network = [
        {"substrate": "digital", "size": 16, "decode": "relu", "dtype": "bfloat16"},
        {"substrate": "digital", "size": 10, "dtype": "bfloat16"},
    ]
    for optimizer in ("sgd", "adam"):
        method = {"name": "spsa", "probes": 4, "optimizer": optimizer, "rate": 0.1}
        run = Run.build({"network": network, "method": method, "train": {"steps": 3, "batch": 32}})
        result = train(run, directory=tmp_path / optimizer)
        kernels = [tree["digital"]["kernel"] for tree in result.params.values()]
        assert all(kernel.dtype == jnp.bfloat16 for kernel in kernels)
        assert replay(tmp_path / optimizer).parameters_sha256 == result.parameters_sha256
