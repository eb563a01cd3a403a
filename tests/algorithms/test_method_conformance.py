"""What every method must be, ours and those of third parties: a new registry line is tested here without a new test."""

from dataclasses import fields, is_dataclass
from functools import partial
from typing import Annotated, get_args, get_origin, get_type_hints

import annotated_types
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from algorithms import registry
from algorithms.contracts import AS_IS, MIXED, RIGHT, WRONG, Algorithm, Passes, Perturbation, Place, Trace
from algorithms.directions import dense
from physics.substrates.digital import Digital

MODEL, BATCH, CLASSES = Digital(4, 3), 6, 2
KEY = jax.random.key(2)
SIZE = 4 * 3 + 3  # trained parameters of the model
PLACE = Place(0, SIZE)


@pytest.fixture(params=registry.names())
def cls(request):
    return registry.load(request.param)


@pytest.fixture
def params(draw):
    return {"device": {}, "digital": {"kernel": draw(1, 4, 3), "bias": draw(2, 3)}}


@partial(jax.jit, static_argnums=0)
def update(method, params, losses):
    """One update from losses or from a gradient, as a commit makes it."""
    state = method.init(KEY, params, PLACE)
    evidence = params if losses is None else losses
    made = method.update(KEY, jnp.int32(3), state, params, evidence)
    return made._replace(gradient=dense(made.gradient))


def test_the_words_by_which_it_is_run_are_known(cls):
    assert issubclass(cls, Algorithm)
    assert cls.route in ("local", "broadcast", "chain")
    assert cls.signal in ("losses", "error", "none")
    assert cls.evidence in ("losses", "gradients")
    assert cls.spread in ("probes", "data")
    assert isinstance(cls.pull, tuple) and all(isinstance(way, str) for way in cls.pull)
    assert bool(cls.pull) == (cls.route == "chain")
    # mean losses are evidence already; everything else is learnt where the physics is
    assert (cls.evidence == "losses") == (cls.learn is Algorithm.learn)
    assert cls.signal == "losses" or cls.evidence == "gradients"
    assert cls.signal != "losses" or cls.route == "broadcast"
    assert (cls.signal == "none") == (cls.route == "local")


def test_a_method_is_a_frozen_value(cls):
    one, other = cls(), cls()
    assert is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert one is not other and one == other and hash(one) == hash(other)
    assert one != registry.load("phyll" if cls is not registry.load("phyll") else "spsa")()
    assert Perturbation(one) == Perturbation(other) and hash(Perturbation(one)) == hash(Perturbation(other))


def test_hyper_parameters_count_as_part_of_the_value(cls):
    for f in fields(cls):
        if isinstance(f.default, float):
            assert cls(**{f.name: f.default * 1.5}) != cls()


def test_hyper_parameters_are_bounded_where_they_are_declared(cls):
    hints = get_type_hints(cls, include_extras=True)
    for f in fields(cls):
        kind, *bounds = get_args(hints[f.name]) if get_origin(hints[f.name]) is Annotated else (hints[f.name],)
        if kind in (int, float):
            assert bounds, f"{f.name} has no bounds"
            assert all(isinstance(b, annotated_types.BaseMetadata) for b in bounds)
            for b in bounds:
                if isinstance(b, annotated_types.Ge):
                    assert f.default >= b.ge
                if isinstance(b, annotated_types.Gt):
                    assert f.default > b.gt
                if isinstance(b, annotated_types.Le):
                    assert f.default <= b.le
                if isinstance(b, annotated_types.Lt):
                    assert f.default < b.lt


def test_its_passes_are_constant_and_hashable(cls):
    passes = cls().passes(SIZE)
    assert isinstance(passes, Passes) and passes == cls().passes(SIZE) and hash(passes) == hash(cls().passes(SIZE))
    assert len(passes) == len(passes.probe) == len(passes.scale) == len(passes.label) >= 1
    assert passes.on in ("device", "twin") and passes.perturbs in ("nothing", "params", "activity")
    assert all(label in (AS_IS, RIGHT, WRONG, MIXED) or label >= 0 for label in passes.label)
    assert not (passes.noisy and passes.on == "device")
    if passes.perturbs == "nothing":
        assert not any(passes.scale)
    elif passes.perturbs == "activity":  # the rows of a sample are compared where it was measured
        assert cls.spread == "data" and cls.signal == "losses" and any(passes.scale)
        assert not passes.tangents or not passes.scale[0] and all(passes.scale[1:])
    else:
        # at most one row is not perturbed, the first: what the others are compared with
        assert cls.spread == "probes" and any(passes.scale) and all(passes.scale[1:])


def test_both_sides_of_a_probe_stand_next_to_each_other(cls):
    passes = cls().passes(SIZE)
    if passes.perturbs == "nothing":
        return
    rows = {p: [r for r, q in enumerate(passes.probe) if q == p] for p in passes.probe}
    assert sorted(rows) == list(range(len(rows)))
    for members in rows.values():
        assert members == list(range(members[0], members[0] + len(members)))
        if passes.perturbs == "activity" and members == [0]:
            assert passes.scale[0] == 0  # what is learnt is learnt at a row of its own
            continue
        plus, *minus = (passes.scale[r] for r in members if passes.scale[r])
        assert plus > 0 and minus in ([], [-plus])


@pytest.mark.parametrize("physical", [True, False])
def test_needs_are_capabilities(cls, physical):
    needs = cls().needs(physical)
    assert isinstance(needs, frozenset) and all(isinstance(n, str) for n in needs)
    assert needs == cls().needs(physical)


def test_a_direction_is_like_the_parameters_and_a_function_of_its_names(cls, params):
    method = cls()
    if method.passes(SIZE).perturbs != "params":
        return
    context = KEY, method.init(KEY, params, PLACE), params
    one, again, other = (dense(method.perturb(context, k)) for k in (0, 0, 1))
    assert jax.tree.structure(one) == jax.tree.structure(params)
    assert jax.tree.map(np.shape, one) == jax.tree.map(np.shape, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    if max(method.passes(SIZE).probe) > 0:
        assert not jax.tree.all(jax.tree.map(np.array_equal, one, other))
    assert all(np.abs(leaf).max() <= method.reach() * (1 + 1e-6) for leaf in jax.tree.leaves(one))


def test_a_jitter_has_variance_1_and_is_a_function_of_its_key(cls):
    method = cls()
    if method.passes().perturbs != "activity":
        with pytest.raises(NotImplementedError, match=cls.__name__):
            method.jitter(KEY, (BATCH, 3))
        return
    jitter = jax.jit(method.jitter, static_argnums=1)
    one, again, other = (np.asarray(jitter(key, (200, 50))) for key in (KEY, KEY, jax.random.key(3)))
    assert one.shape == (200, 50) and np.array_equal(one, again) and not np.array_equal(one, other)
    assert abs(one.mean()) < 5 / np.sqrt(one.size) and abs(np.mean(one**2) - 1) < 0.1


def test_a_lesson_is_a_gradient_like_the_parameters(cls, params, learn, draw):
    method = cls()
    if method.evidence == "losses":
        with pytest.raises(NotImplementedError, match=cls.__name__):
            method.learn(None, None, None)
        return
    passes = method.passes()
    P, y = len(passes), np.arange(BATCH, dtype=np.int32) % CLASSES
    x, h = draw(3, P, BATCH, 4), draw(4, P, BATCH, 3)
    scale = np.array(passes.scale, np.float32)[:, None, None]
    jitter = scale * draw(6, P, BATCH, 3) if passes.perturbs == "activity" else None
    width = {"chain": (3,), "broadcast": (CLASSES,), "local": None}[method.route]
    width = () if method.signal == "losses" else width
    signal = None if width is None else draw(5, P, BATCH, *width)
    gradient, cot_x = learn(method, MODEL, params, Trace(x, x, h, y, jitter), signal, KEY)
    assert jax.tree.map(np.shape, gradient) == jax.tree.map(np.shape, params)
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert cot_x.shape == x.shape if method.route == "chain" else cot_x is None


def test_an_update_is_pure_and_gives_a_gradient_like_the_parameters(cls, params, draw):
    method = cls()
    losses = draw(6, len(method.passes(SIZE))) if method.evidence == "losses" else None
    one, again = update(method, params, losses), update(method, params, losses)
    assert jax.tree.map(np.shape, one.gradient) == jax.tree.map(np.shape, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    assert jax.tree.structure(one.state) == jax.tree.structure(method.init(KEY, params, PLACE))
    assert all(np.ndim(v) == 0 for v in one.info.values())


@pytest.mark.parametrize("n", [2, 10])
def test_a_prediction_is_one_pass_or_one_for_each_class(cls, n, params, score, draw):
    method = cls()
    passes = method.predict(n)
    assert isinstance(passes, Passes) and passes == cls().predict(n)
    assert passes.perturbs == "nothing" and not any(passes.scale) and passes.on == "device"
    x, h = draw(3, len(passes), BATCH, 4), draw(4, len(passes), BATCH, 3)
    made = score(method, MODEL, params, Trace(x, x, h), KEY, 0, n)
    if made is None:
        assert len(passes) == 1 and passes.label == (AS_IS,)
    else:
        assert made.shape == (n, BATCH)


def test_names_are_listed_without_an_import_and_unknown_ones_raise():
    assert {"spsa", "physics-aware", "in-silico", "in-silico-noise", "dfa", "phyll"} <= set(registry.names())
    with pytest.raises(KeyError):
        registry.load("abracadabra")
