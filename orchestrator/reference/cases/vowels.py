"""vowels: seven spoken vowels by their formants, the task of many physical networks, by five methods on two substrates.

Source: formants of J. Hillenbrand et al., J. Acoust. Soc. Am. 97:3099 (1995), as L. G. Wright et al., Nature 601:549
(2022) use them. Published, both recalled and of other hardware: some 93 % for second-harmonic generation (Wright et
al.), 92.5 % for a photonic chip of 132 parameters (Bandyopadhyay et al., 2024). Logistic regression reaches 98.6 %, so
the task tests how a method trains, not what a network can do. Everything is only reported.
Chips: 10 % mismatch of every parameter, and the noise of the substrate.
Split: seed n takes the n-th seeded split of the 259 rows; that of the source is not published. Seeds: 3.
"""

from __future__ import annotations

from typing import Any

from orchestrator.reference.case import Case, Part, Tree
from orchestrator.reference.trial import accuracy

CROSSBARS = [
    {"substrate": "crossbar", "size": 24, "decode": "tanh"},
    {"substrate": "crossbar", "size": 7, "encode": "clip"},
]
OSCILLATORS = [
    {"substrate": "oscillators", "size": 24},
    {"substrate": "oscillators", "size": 7, "nodes": 31, "trained_gain": True},
]
FIXED: dict[str, list[dict[str, Any]]] = {  # of PhyLL: physics that stays as it is, then a digital layer, twice
    name: [
        {"substrate": name, "size": size, "trained": False, "encode": encode, **more},
        {"substrate": "digital", "size": size, "decode": "relu"},
    ]
    for name, size, encode, more in (
        ("crossbar", 32, "none", {"decode": "tanh"}),
        ("oscillators", 20, "none", {}),
    )
}
METHODS: dict[str, dict[str, Any]] = {
    "in-silico": {"rate": 0.01},
    "physics-aware": {"rate": 0.01},
    "spsa": {"probes": 16, "scale": 0.05, "rate": 0.02},
    "node-perturbation": {"rate": 0.01},
    "phyll": {"theta": 4.0, "rate": 0.01},
}
STEPS = {"spsa": 1000, "phyll": 500}


def tree(network: list[dict[str, Any]], name: str) -> Tree:
    return {
        "data": {"name": "vowels", "split": 0},
        "network": network,
        "fleet": {"mismatch": 0.1},
        "method": {"name": name, "schedule": "cosine", **METHODS[name]},
        "train": {"steps": STEPS.get(name, 800), "batch": 64, "chunk": 64},
    }


def part(substrate: str, network: list[dict[str, Any]], name: str) -> Part:
    last = {"substrate": "digital", "size": 7, "decode": "relu"}
    stages = [*FIXED[substrate], {**FIXED[substrate][0], "encode": "peak"}, last] if name == "phyll" else network
    return Part(f"vowels/{substrate}-{name}", "% correct", accuracy, (tree(stages, name),), (0, 1, 2))


CASE = Case(
    "vowels",
    "Seven vowels by twelve formants on crossbars and on oscillators with 10 % mismatch, by five methods.",
    "Hillenbrand et al. 1995; Wright et al. 2022",
    "a seeded split for each seed",
    tuple(
        part(substrate, network, name)
        for substrate, network in (("crossbar", CROSSBARS), ("oscillators", OSCILLATORS))
        for name in METHODS
    ),
)
