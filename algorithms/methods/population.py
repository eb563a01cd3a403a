"""Population search by the strategies of evosax: CMA-ES, natural evolution, particle swarms, genetic algorithms.

    theta_k = theta + clip(x_k - theta, -radius, radius),      x_1 .. x_K asked of the strategy, K = `population` losses
    theta  <- the mean of the strategy, or its best member if it has none,      after it was told all (theta_k, L_k)

Each tile has a strategy of its own, of its own parameters: a covariance, for one, is within a tile. Member k of the
network is member k of every tile, and all are told the same losses; so the effective dimension per reward is the number
of parameters, less what a covariance has learnt. What a pass writes is never further than `radius` from what the device
holds, so that the strategies are those of evosax in a moving box.

A member that was not measured is never selected; where all members count, it is told as the mean of the strategy, with
the median of the losses.

A strategy is arithmetic of evosax and of JAX's normal numbers, not of integer bits like other directions here. Replay
makes the same bits with the same versions of both on the same kind of processor. Others give members that differ in a
last bit, or altogether where evosax changed: a journal from before replays to other parameters.

Sources: R. T. Lange, evosax, arXiv:2212.04180 (2022); N. Hansen, A. Ostermeier, Evol. Comput. 9:159 (2001) (cma);
R. Ros, N. Hansen, PPSN 2008 (sep-cma); D. Wierstra et al., JMLR 15:949 (2014) (snes); T. Salimans et al.,
arXiv:1703.03864 (2017) (open-es, here with a natural step: sigma^2 times the gradient); J. Kennedy, R. Eberhart, ICNN
1995 (pso); R. Storn, K. Price, J. Glob. Optim. 11:341 (1997) (differential-evolution); F. Petroski Such et al.,
arXiv:1712.06567 (2017) (simple-ga); I. Rechenberg (1973) (mr15-ga, by the rule of one fifth).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt, Le, MultipleOf
from jax.flatten_util import ravel_pytree

from algorithms.contracts import AS_IS, Algorithm, Array, Facts, Key, Passes, Place, Tree, Update

STRATEGIES = {
    "cma": "CMA_ES",
    "sep-cma": "Sep_CMA_ES",
    "snes": "SNES",
    "open-es": "Open_ES",
    "pso": "PSO",
    "differential-evolution": "DifferentialEvolution",
    "simple-ga": "SimpleGA",
    "mr15-ga": "MR15_GA",
}
MOST = 2000  # parameters of a tile of which "cma" holds a matrix, all by all
GIVEN_SCALE = ("open-es", "simple-ga")  # whose standard deviation is a schedule


@dataclass(frozen=True)
class Population(Algorithm):
    """strategy: one of those above. population: K, even, of which each tile holds all members.

    scale: the first standard deviation of members; radius: how far from the parameters a member is measured at most.
    Both in units of the parameters.
    """

    route = "broadcast"
    signal = "losses"
    evidence = "losses"
    spread = "probes"
    steps = "itself"
    facts = Facts("all parameters, fewer as a covariance is learnt", "nowhere", "many parameters; batches that change")

    strategy: Literal["cma", "sep-cma", "snes", "open-es", "pso", "differential-evolution", "simple-ga", "mr15-ga"] = (
        "sep-cma"
    )
    population: Annotated[int, Ge(4), Le(65536), MultipleOf(2)] = 32
    scale: Annotated[float, Gt(0)] = 0.05
    radius: Annotated[float, Gt(0)] = 0.2

    def passes(self, size: int = 1) -> Passes:
        K = self.population
        return Passes(tuple(range(K)), (1.0,) * K, (AS_IS,) * K, perturbs="params")

    def reach(self) -> float:
        return self.radius

    def init(self, key: Key, params: Tree, place: Place) -> Tree:
        """The state of the strategy, and the members that it asks to be measured, [population, size of the tile].

        Raises ValueError if the tile has more than 2,000 parameters and the strategy is "cma".
        """
        theta, _ = ravel_pytree(params)
        if self.strategy == "cma" and theta.size > MOST:
            raise ValueError(
                f'"cma" holds a matrix of all parameters of a tile: at most {MOST:,}, but one has {theta.size:,}; '
                'cut the stage into tiles, or take "sep-cma"'
            )
        search, settings = _search(self, theta.size)
        key_init, key_ask = jax.random.split(key)
        if hasattr(search, "get_mean"):
            members, state = search.ask(key_ask, search.init(key_init, theta, settings), settings)
        else:
            members = theta + self.scale * jax.random.normal(key_ask, (self.population, theta.size))
            nothing = jnp.full(self.population, jnp.inf)
            state = search.init(key_init, members, nothing, settings)
        return {"members": members, "search": _arrays(state)}

    def perturb(self, context: Tree, probe: Array) -> Tree:
        _, state, params = context
        theta, unravel = ravel_pytree(params)
        return unravel(self._away(state, theta)[probe])

    def update(self, key: Key, step: Array, state: Tree, params: Tree, evidence: Array) -> Update:
        theta, unravel = ravel_pytree(params)
        search, settings = _search(self, theta.size)
        known = jnp.isfinite(evidence)
        told, losses = theta + self._away(state, theta), jnp.where(known, evidence, jnp.inf)
        before = state["search"]
        if hasattr(search, "get_mean"):  # the device may not have taken all of the last step
            before = before.replace(mean=theta)
            told = jnp.where(known[:, None], told, theta)
            losses = jnp.where(known, evidence, jnp.nanmedian(jnp.where(known, evidence, jnp.nan)))
        key_tell, key_ask = jax.random.split(key)
        after, _ = search.tell(key_tell, told, losses, before, settings)
        goal = search.get_mean(after) if hasattr(search, "get_mean") else search.get_best_solution(after)
        members, after = search.ask(key_ask, after, settings)
        change = jnp.where(jnp.any(known), theta - goal, jnp.nan)
        info = {"loss_best": jnp.min(losses), "loss_spread": jnp.nanstd(jnp.where(known, evidence, jnp.nan))}
        return Update(unravel(change), {"members": members, "search": _arrays(after, before)}, True, info)

    def _away(self, state: Tree, theta: Array) -> Array:
        """From the parameters to what of each member is measured, [population, size of the tile]."""
        return jnp.clip(state["members"] - theta, -self.radius, self.radius)


@cache
def _search(method: Population, size: int) -> tuple[Any, Any]:
    """The strategy of evosax for so many parameters, and its settings as numbers."""
    import evosax.algorithms  # takes its time, and only this method needs it

    cls, options = getattr(evosax.algorithms, STRATEGIES[method.strategy]), {}
    if method.strategy in GIVEN_SCALE:
        options["std_schedule"] = optax.constant_schedule(method.scale)
    if method.strategy == "open-es":
        options["optimizer"] = optax.sgd(method.scale**2)
    with jax.ensure_compile_time_eval():
        search = cls(method.population, np.zeros(size, np.float32), **options)
        settings = search.default_params
        ours = {"std_init": method.scale, "std_max": method.radius}
        known = {f.name for f in fields(settings)}
        settings = replace(settings, **{name: value for name, value in ours.items() if name in known})
        return search, jax.tree.map(np.asarray, settings)


def _arrays(state: Tree, like: Tree | None = None) -> Tree:
    """A state with arrays for leaves, of the same types in every step."""
    if like is None:
        return jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(v)), state)
    return jax.tree.map(lambda v, old: jnp.asarray(v, old.dtype), state, like)
