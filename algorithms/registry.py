"""The methods by name: one line each. Others come through the entry-point group `pnn.algorithms`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

GROUP = "pnn.algorithms"

METHODS = {
    "spsa": "algorithms.methods.spsa:SPSA",
    "es": "algorithms.methods.es:ES",
    "low-rank-es": "algorithms.methods.low_rank_es:LowRankES",
    "one-sided-spsa": "algorithms.methods.one_sided_spsa:OneSidedSPSA",
    "1.5-spsa": "algorithms.methods.one_point_five_spsa:OnePointFiveSPSA",
    "mezo": "algorithms.methods.mezo:MeZO",
    "finite-differences": "algorithms.methods.finite_differences:FiniteDifferences",
    "mgd": "algorithms.methods.mgd:MGD",
    "pgpe": "algorithms.methods.pgpe:PGPE",
    "population": "algorithms.methods.population:Population",
    "physics-aware": "algorithms.methods.backprop:PhysicsAware",
    "in-silico": "algorithms.methods.backprop:InSilico",
    "in-silico-noise": "algorithms.methods.backprop:InSilicoNoise",
    "dfa": "algorithms.methods.dfa:DFA",
    "phyll": "algorithms.methods.phyll:PhyLL",
    "node-perturbation": "algorithms.methods.node_perturbation:NodePerturbation",
    "forward-gradient": "algorithms.methods.forward_gradient:ForwardGradient",
    "feedback-alignment": "algorithms.methods.feedback_alignment:FeedbackAlignment",
    "augmented-dfa": "algorithms.methods.augmented_dfa:AugmentedDFA",
    "forward-forward": "algorithms.methods.forward_forward:ForwardForward",
    "self-contrastive": "algorithms.methods.self_contrastive:SelfContrastive",
    "local-readout": "algorithms.methods.local_readout:LocalReadout",
}


def names() -> list[str]:
    """Every known name; nothing is imported."""
    return [*METHODS, *(e.name for e in entry_points(group=GROUP) if e.name not in METHODS)]


@cache
def load(name: str) -> type:
    """The class of a method. Raises KeyError if the name is unknown."""
    if name in METHODS:
        module, _, cls = METHODS[name].partition(":")
        return getattr(import_module(module), cls)
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise KeyError(name)
