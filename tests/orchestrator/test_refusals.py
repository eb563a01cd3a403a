"""Broken run files: every mistake is refused, with its place, how it must be, and what was probably meant."""

import re

import pytest

from orchestrator import Run
from orchestrator.problems import RunFileError
from tests.orchestrator.mutants import MUTATORS, mutants, pairs
from tests.orchestrator.sources import RICH, SMALL, SOURCES


def refusal(path, text, sets=()):
    path.write_text(text)
    try:
        Run.load(path, sets)
    except RunFileError as error:
        return str(error)
    return None


HOW = re.compile(r"; allowed: |should (be|have) |must be given|this key exists at ")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """[(case, what was told or None)] of all mutants."""
    path = tmp_path_factory.mktemp("mutants") / "run.toml"
    return [(case, refusal(path, case.text)) for case in mutants()]


def about(case, message):
    """The lines of a message that are about the mistake of a case, at the right place."""
    return [line for line in message.split("\n") if f"run.toml:{case.line}: " in line and case.named in line]


@pytest.mark.parametrize("source", SOURCES)
def test_the_valid_ones_are_accepted(source, tmp_path):
    assert refusal(tmp_path / "run.toml", SOURCES[source]) is None


def test_every_mistake_is_refused_with_its_line_its_field_and_how_it_must_be(told):
    wrong = []
    for case, message in told:
        lines = (message or "").split("\n")
        good = message and about(case, message) and "Traceback" not in message
        if not good or not all(HOW.search(line) and len(line) < 600 for line in lines):
            wrong.append(f"{case.kind}: line {case.line}, {case.named}: {message and message[:600]}")
    assert not wrong, "\n".join(wrong)
    kinds = {case.kind for case, _ in told}
    assert len(kinds) == len(MUTATORS), "each kind is there"


def test_the_nearest_spelling_is_suggested(told):
    """In at least 95 % of all misspelt keys, tables and names."""
    misspelt = [(case, message) for case, message in told if case.near]
    missed = [
        f"{case.named}: not {case.near}, but {message}"
        for case, message in misspelt
        if not any(line.endswith(f"did you mean {case.near}?") for line in about(case, message or ""))
    ]
    print(f"{len(misspelt) - len(missed)} of {len(misspelt)} suggested", *missed, sep="\n")
    assert len(misspelt) > 60 and len(missed) <= 0.05 * len(misspelt), "\n".join(missed)


def test_two_independent_mistakes_are_told_at_once(tmp_path):
    wrong = []
    for text, a, b in pairs():
        message = refusal(tmp_path / "run.toml", text)
        if not (message and about(a, message) and about(b, message)):
            wrong.append(f"{a.line}: {a.named} and {b.line}: {b.named}: {message}")
    assert not wrong, "\n".join(wrong)


def test_several_mistakes_in_the_syntax_are_told_at_once(tmp_path):
    message = refusal(tmp_path / "run.toml", RICH.replace("steps = 7", "steps 7").replace('"tied"', "tied"))
    assert [re.search(r"run.toml:(\d+): (.*?) is not TOML", line).groups() for line in message.split("\n")] == [
        ("41", "'share = tied'"),
        ("48", "'steps 7'"),
    ]


def test_a_key_in_the_wrong_table_is_told_where_it_belongs(tmp_path):
    text = SMALL + "\n[train]\nrate = 0.1\nprobes = 3\n[fleet]\nsteps = 4\n"
    message = refusal(tmp_path / "run.toml", text)
    for line in (
        ":12: train.rate is not a field; .*; this key exists at method.rate",
        ":13: train.probes is not a field; .*; this key exists at method.probes \\(spsa, es, .*\\)",
    ):
        assert re.search(line, message), message


def test_what_stands_in_a_misspelt_table_is_looked_at_too(tmp_path):
    """With the place where it stands, not the one where it should."""
    text = SMALL.replace("[method]", "[metod]").replace("0.1", "-0.1") + "[trian]\nbatch = 0\nstepz = 3\n"
    lines = refusal(tmp_path / "run.toml", text).split("\n")
    assert [line.split("run.toml")[1].split(";")[0] for line in lines] == [
        ":6: metod is not a field",
        ":9: metod.rate = -0.1 should be greater than 0",
        ":10: trian is not a field",
        ":11: trian.batch = 0 should be greater than 0",
        ":12: trian.stepz is not a field",
    ]


def test_a_mistake_hides_no_other_and_follows_from_none(tmp_path):
    """Nothing is said of what cannot be judged, because the name of the substrate is beyond recognition."""
    text = '[[network]]\nsubstrate = "quantum"\nsize = 10\nqubits = 4\n[fleet]\nmismatch = 0.1\n[train]\nstep = 4\n'
    lines = refusal(tmp_path / "run.toml", text).split("\n")
    assert [line.split("run.toml")[1].split(";")[0] for line in lines] == [
        ":2: network[0].substrate = 'quantum' is not a substrate",
        ":8: train.step is not a field",
    ]


@pytest.mark.parametrize(
    "broken",
    [
        ("crossbar", "crosbar"),
        ("size = 16", "size = 16 16"),
        ("probes = 8", "probes = 1000000000"),
        ("size = 16", "size = 2147483647"),
    ],
)
@pytest.mark.parametrize("command", ["train", "compare"])
def test_the_command_exits_2_and_leaves_nothing(command, broken, tmp_path, pnn):
    file = tmp_path / "run.toml"
    file.write_text(SOURCES["tiny.toml"].replace(*broken) + "\n[compare.dfa]\n")
    done = pnn(command, file, code=2)
    assert "run.toml:" in done.stderr and not done.stdout
    assert list(tmp_path.iterdir()) == [file]


# --- files that are no run files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe\x00", "cannot be read: 'utf-8' codec"),
        (b"a = " + b"[" * 100_000, "beyond what can be read"),
        (b"a = " + b"9" * 100_000, "beyond what can be read"),
        (b"a" + b".a" * 100_000 + b" = 1", "a key of too many parts"),
        (b"a = " + b"[" * 50 + b"]" * 50, "more than 20 tables and lists within each other"),
        (b"".join(b"k%d = 1\n" % i for i in range(20_000)), "and there are more"),
        (b"[[a]]\n" * 100_000, "a is not a field"),
        (b"", "network is missing and must be given"),
        (b"\x00", "is not TOML"),
    ],
)
def test_hostile_files_are_refused(content, told, tmp_path):
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(RunFileError) as caught:
        Run.load(tmp_path / "run.toml")
    assert told in str(caught.value) and len(str(caught.value)) < 30_000


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "runs.toml").write_text(SMALL)
    with pytest.raises(RunFileError, match="cannot be read"):
        Run.load(tmp_path)
    with pytest.raises(RunFileError, match=r"does not exist.*did you mean .*runs\.toml\?"):
        Run.load(tmp_path / "run.toml")
