"""Run files: what is accepted, and that everything wrong is told at once with its line."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from orchestrator import Run, train
from orchestrator.problems import RunFileError
from orchestrator.spec import Stage
from orchestrator.spelling import nearest
from orchestrator.toml_text import find_line

BAD = """\
[data]
sise = [4, 4]

[[network]]
substrate = "crosbar"
size = 32
decode = "tan"

[[network]]
substrate = "crossbar"
size = 10
gane = 4.0

[fleet]
mismatch = 1.5
replicas = 0

[method]
name = "spas"
rate = nan

[train]
stepz = 3
batch = 100
"""


def refusal(text, tmp_path, sets=()):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(RunFileError) as caught:
        Run.load(path, sets)
    return str(caught.value).replace(str(tmp_path), "")


def test_all_problems_at_once_with_line_value_allowed_and_nearest(tmp_path):
    told = refusal(BAD, tmp_path).split("\n")
    for expected in (
        ":2: data.sise is not a field",
        ":5: network[0].substrate = 'crosbar' is not a substrate",
        ":7: network[0].decode = 'tan' is not allowed",
        ":12: network[1].gane is not a field",
        ":15: fleet.mismatch = 1.5 should be less than or equal to 1",
        ":16: fleet.replicas = 0 should be greater than or equal to 1",
        ":19: method.name = 'spas' is not a method",
        ":20: method.rate = nan",
        ":23: train.stepz is not a field",
        ":24: train.batch",
    )[:-1]:
        assert any(expected in line for line in told), expected
    for near in ("size", "crossbar", "tanh", "gain", "spsa", "steps"):
        assert any(line.endswith(f"did you mean {near}?") for line in told), near


GOOD = """\
[[network]]
substrate = "crossbar"
size = {size}
{extra}
[method]
name = "{method}"
[train]
batch = 128
chunk = {chunk}
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": 12}, "network[0].size = 12 does not fit digits; allowed: 10, its classes"),
        ({"chunk": 24}, "train.chunk = 24 does not divide the batch"),
        ({"extra": "trained = false"}, "has no trained stage"),
        ({"extra": "tiles = 64"}, "tiles = 64 are more than the outputs"),
        ({"extra": "tiles = 2", "method": "phyll"}, "tiles = 2 cannot cut a stage trained by phyll"),
    ],
)
def test_what_only_the_plan_can_show(change, expected, tmp_path):
    text = GOOD.format(**{"size": 10, "extra": "", "method": "spsa", "chunk": 32, **change})
    assert expected in refusal(text, tmp_path)


def test_a_substrate_that_cannot_be_cut(tmp_path):
    text = '[[network]]\nsubstrate = "oscillators"\nsize = 10\nnodes = 64\ntiles = 2\n'
    assert "tiles = 2 cannot cut oscillators" in refusal(text, tmp_path)


def test_a_method_that_needs_what_a_stage_lacks_names_both_and_what_would_fit(tmp_path, monkeypatch):
    from physics.substrates.crossbar import Crossbar

    monkeypatch.setattr(Crossbar, "capabilities", frozenset({"measure"}))
    text = GOOD.format(size=10, extra="", method="dfa", chunk=32)
    told = refusal(text, tmp_path)
    assert "'crossbar' cannot be trained by dfa: it lacks ['twin']" in told
    assert "allowed: one of the methods spsa" in told


def test_a_chain_with_no_way_back_is_refused(tmp_path, monkeypatch):
    from physics.substrates.crossbar import Crossbar

    monkeypatch.setattr(Crossbar, "capabilities", frozenset({"measure"}))
    text = """
[[network]]
substrate = "digital"
size = 16
method = "physics-aware"
[[network]]
substrate = "crossbar"
encode = "clip"
size = 10
method = "spsa"
"""
    assert "offers no way back for physics-aware below it" in refusal(text, tmp_path)


def test_not_toml_missing_and_too_large(tmp_path):
    assert "is not TOML" in refusal("[data", tmp_path)
    assert "run.toml:1: 'a = = 3' is not TOML: it has no valid value" in refusal("a = = 3", tmp_path)
    assert "is larger than" in refusal("# " + "x" * (1 << 20), tmp_path)
    with pytest.raises(RunFileError, match="does not exist"):
        Run.load(tmp_path / "none.toml")


def test_set_method_name_takes_its_entry_and_other_sets_win(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[[network]]\nsubstrate = "crossbar"\nsize = 10\n[method]\nname = "spsa"\nprobes = 4\n'
        "[train]\nsteps = 5\n[compare.dfa]\nrate = 0.5\nsteps = 7\n"
    )
    assert Run.load(path).method.options == {"probes": 4}
    run = Run.load(path, ["method.name=dfa"])
    assert (run.method.name, run.method.rate, run.method.options, run.train.steps) == ("dfa", 0.5, {}, 7)
    run = Run.load(path, ["train.steps=9", "method.rate=0.1", "method.name=dfa"])
    assert (run.method.rate, run.train.steps) == (0.1, 9)
    run = Run.load(path, ["method.name=physics-aware"])
    assert (run.method.rate, run.train.steps) == (0.01, 5), "no entry: its defaults"
    assert Run.load(path, ["network.0.gain=2"]).network[0].options == {"gain": 2}


def test_mistakes_in_set(tmp_path):
    text = '[[network]]\nsubstrate = "crossbar"\nsize = 10\n'
    sets = ["trian.steps=3", "network.7.size=3", "method.name=magic", "nonsense"]
    told = refusal(text, tmp_path, sets)
    for expected in (
        "trian is not a field",
        "did you mean train?",
        "network has no entry 7",
        "'magic' is not a method",
    ):
        assert expected in told
    assert "--set train.steps=-1: train.steps = -1" in refusal(text, tmp_path, ["train.steps=-1"])


def test_the_compare_table_is_validated_by_train_too(tmp_path):
    text = GOOD.format(size=10, extra="", method="spsa", chunk=32) + "[compare.dfa]\nprobess = 3\n"
    assert "compare.dfa.probess is not a field" in refusal(text, tmp_path)


def test_a_run_survives_json():
    run = Run.build({"network": [{"substrate": "crossbar", "size": 10, "gain": 2.0}], "fleet": {"mismatch": 0.1}})
    assert Run.model_validate_json(run.model_dump_json(exclude_none=True)) == run


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    VALUES, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3), max_leaves=6
)


@given(st.dictionaries(st.sampled_from(["data", "network", "fleet", "method", "train", "compare", "x"]), TREES))
def test_garbage_is_refused_without_a_traceback(tree):
    try:
        Run.build(tree)
    except RunFileError as error:
        assert str(error)


@given(st.text(max_size=12))
def test_nearest_is_one_of_the_allowed_or_none(word):
    assert nearest(word, ["alpha", "beta"]) in ("alpha", "beta", None)


def test_lines_of_nested_tables():
    text = "[a]\nx = 1\n\n[[b]]\ny = 1\n[[b]]\ny = 2\n[[b.c]]\nz = 1\n[d.e]\nf.g = 3\n"
    places = (("a", "x"), ("b", 0, "y"), ("b", 1, "y"), ("b", 1, "c", 0, "z"), ("d", "e", "f", "g"))
    found = [find_line(text, where) for where in places]
    assert found == [2, 5, 7, 9, 11]


def test_schema_lists_every_option_of_every_plugin(capsys):
    import json

    from orchestrator.cli import info

    info.schema_command()
    schema = json.loads(capsys.readouterr().out)
    assert "probes" in schema["methods"]["spsa"]["properties"]
    assert "mismatch" in schema["substrates"]["crossbar"]["properties"]
    assert TypeAdapter(dict).validate_python(schema)


def test_a_perturbation_that_leaves_no_room_is_refused_before_the_start(small_tree):
    tree = small_tree("spsa")
    tree["method"]["scale"] = 1.0
    with pytest.raises(RunFileError, match=r"method = 'spsa' perturbs w of crossbar by 1, .* -1 to 1"):
        Run.build(tree)
    tree["method"]["scale"] = 0.9  # and first parameters keep the distance that commits keep
    assert train(Run.build(tree)).steps == 3


def test_run_files_know_the_activations_of_the_physics():
    """Run files are read without JAX, so they name the activations again."""
    from physics.decoding import ACTIVATIONS, Decode

    assert get_args(Stage.model_fields["decode"].annotation) == get_args(Decode) == tuple(ACTIVATIONS)
