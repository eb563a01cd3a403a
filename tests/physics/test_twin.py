"""The twin of a stage in its parts: through the activation, and before it."""

from functools import partial

import jax
import numpy as np
import pytest

from physics import twin
from physics.decoding import ACTIVATIONS
from physics.substrates.crossbar import Crossbar
from physics.substrates.digital import Digital
from physics.substrates.oscillators import Oscillators

STAGES = [Digital(4, 3), Digital(4, 3, bias=False), Crossbar(4, 3, gain=2.0), Oscillators(4, 3, trained_gain=True)]


@pytest.mark.parametrize("decode_as", ACTIVATIONS)
@pytest.mark.parametrize("plain", STAGES, ids=repr)
def test_the_way_back_is_through_the_activation_and_what_is_before_it(plain, decode_as):
    model = type(plain)(**{**plain.__dict__, "decode_as": decode_as})
    rng = np.random.default_rng(3)
    n_v = 4 if isinstance(plain, Digital) else 3  # a digital stage measures its input
    v, cot = (rng.normal(size=(5, n)).astype(np.float32) for n in (n_v, 3))

    @jax.jit
    def both(v, cot):
        params = model.init(jax.random.key(1))
        a, slope, pull = twin.bare(model, params, v)
        h = jax.vmap(partial(model.decode, params["digital"]))(v)
        return (a, h), (pull(cot * slope), twin.decode_vjp(model, params, v, cot))

    (a, h), (parts, whole) = both(v, cot)
    np.testing.assert_allclose(ACTIVATIONS[decode_as](a), h, rtol=1e-6)
    assert jax.tree.structure(parts) == jax.tree.structure(whole)
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
