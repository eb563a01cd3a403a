"""`python -m orchestrator.bench.ours NAME --options JSON`: serve one side."""

from __future__ import annotations

import argparse
import json
from importlib import import_module

from orchestrator.bench.serve import serve

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name")
parser.add_argument("--options", type=json.loads, default={})
given = parser.parse_args()
serve(import_module(f"orchestrator.bench.ours.{given.name}").setup, given.options)
