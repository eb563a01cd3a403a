"""What the documents say is true: commands and Python blocks run, run files are valid, links and paths exist.

A block after `<!-- file: NAME -->` is written to NAME first, in the folder where the document's commands run; the
entry points of its `pyproject.toml` are installed there.
"""

import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
from typer.testing import CliRunner

from orchestrator import Run
from orchestrator.cli import app

ROOT = Path(__file__).parents[1]
RUN_DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("architecture", "substrates", "methods", "data")),
]
DOCUMENTS = [*RUN_DOCUMENTS, "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/decisions/*.md"))]
SMALL = ["train.steps=2", "train.evaluate_samples=64"]  # shapes stay, so that documents share what is compiled
ALL_SMALL = ["compare.seeds=[0]", "train.batch=32", "train.chunk=32", "train.evaluate_chunk=64"]
WORKERS = ("--workers", "--address")


class Block(NamedTuple):
    """A fenced block: its language, the file that it is to be written to, if any, and its text."""

    language: str
    file: str | None
    text: str


def blocks(document):
    text = (ROOT / document).read_text()
    found = re.findall(r"(?:^<!-- file: (\S+) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == len(re.findall(r"^```\w+$", text, re.M)), f"{document}: a fence is not closed or not named"
    return [Block(language, file or None, body) for file, language, body in found]


def lines(document):
    """Words of every command in the sh blocks, without comments; once each."""
    commands = [line for b in blocks(document) if b.language == "sh" for line in b.text.splitlines()]
    return list(dict.fromkeys(tuple(shlex.split(c, comments=True)) for c in commands if c.strip()))


def small(arguments):
    """The same command in this process and in a second or two."""
    command, *rest = arguments
    after_option = [False, *(word in WORKERS for word in rest[:-1])]
    skipped = [word in (*WORKERS, "--local") or value for word, value in zip(rest, after_option, strict=False)]
    kept = [word for word, skip in zip(rest, skipped, strict=True) if not skip]
    if command in ("train", "compare", "evaluate", "resume"):
        kept.append("--local")
    if command in ("train", "compare"):
        kept += [word for change in SMALL for word in ("--set", change)]
    if command == "compare":
        kept += [word for change in ALL_SMALL for word in ("--set", change)]
    return command, *kept


def pnn(arguments, codes=(0,)):
    """Run `pnn ...` in this process; what it printed to stdout."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code in codes, f"pnn {shlex.join(arguments)}: {done.output}\n{done.exception!r}"
    return done.stdout


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """bench(document): an empty folder with the examples, the document's files, and their entry points installed."""
    monkeypatch.setenv("PNN_TRACKING", "none")

    def prepare(document):
        before = set(sys.modules)
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        files = {b.file: b.text for b in blocks(document) if b.file}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        if "pyproject.toml" in files:
            project = tomllib.loads(files["pyproject.toml"])["project"]
            info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
            info.mkdir()
            about = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
            (info / "METADATA").write_text("".join(f"{k}: {v}\n" for k, v in about.items()))
            groups = project["entry-points"].items()
            told = "".join(f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in groups)
            (info / "entry_points.txt").write_text(told)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        made = {Path(f).stem for f in files if f.endswith(".py")}
        assert not made & before, "a module of the document hides another"
        return made

    made = set()
    yield lambda document: made.update(prepare(document))
    for name in made:
        sys.modules.pop(name, None)


def test_the_parts_of_a_command_line_that_are_made_small():
    assert small(["train", "a.toml", "--workers", "4", "--json"])[:4] == ("train", "a.toml", "--json", "--local")
    assert small(["train", "--address", "auto", "a.toml"])[:3] == ("train", "a.toml", "--local")
    assert small(["list"]) == ("list",)


@pytest.mark.parametrize("document", RUN_DOCUMENTS)
def test_every_command_is_understood(document):
    """As it is written, options of clusters too; nothing is run."""
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    group = typer.main.get_command(app)
    for program, *arguments in lines(document):
        if program == "make":
            names = [a for a in arguments if "=" not in a]
            assert set(names) <= set(targets), f"make {arguments}"
        elif program == "pnn":
            name, *rest = arguments[: arguments.index(">")] if ">" in arguments else arguments
            with group.commands[name].make_context(name, rest):
                pass
        else:
            assert os.access(ROOT / program, os.X_OK), f"{program}: neither pnn nor make nor a program of ours"


@pytest.mark.parametrize("document", [d for d in RUN_DOCUMENTS if any(c[0] == "pnn" for c in lines(d))])
def test_every_command_runs(document, bench, tmp_path):
    bench(document)
    seen = set()
    for program, *arguments in lines(document):
        if program != "pnn":
            continue
        arguments, target = (arguments[:-2], arguments[-1]) if ">" in arguments else (arguments, None)
        command = small(arguments)
        if command in seen:
            continue
        seen.add(command)
        if command[0] in ("ui", "track", "bench") or command[:2] == ("reference", "run"):
            continue  # tests of their own run them: with a store, with other sides, or with other cases
        if command[0] == "diff":
            shutil.copytree(tmp_path / command[1], tmp_path / command[2])
        printed = pnn(command, codes=(0, 1) if command[0] == "doctor" else (0,))  # 1: what it finds is not ours to say
        if target:
            assert json.loads(printed), f"{target} is meant to be JSON"
        if "--json" in command:
            assert json.loads(printed.splitlines()[-1])
        if "--out" in command:
            place = tmp_path / command[command.index("--out") + 1]
            for name in ("run.toml", "run.json", "journal.pnn", "parameters.safetensors", "result.json", "figure.png"):
                assert (place / name).stat().st_size > 0


@pytest.mark.parametrize("document", [d for d in RUN_DOCUMENTS if any(b.language == "python" for b in blocks(d))])
def test_every_python_block_runs(document, bench):
    bench(document)
    for i, block in enumerate(b for b in blocks(document) if b.language == "python" and not b.file):
        exec(compile(block.text, f"{document}, Python block {i}", "exec"), {"__name__": "document"})


@pytest.mark.parametrize("document", [d for d in RUN_DOCUMENTS if any(b.language == "toml" for b in blocks(d))])
def test_every_run_file_is_valid(document, bench):
    bench(document)
    for block in blocks(document):
        if block.language == "toml" and block.file != "pyproject.toml":
            Run.build(tomllib.loads(block.text), file=block.file or document, text=block.text)


def test_the_substrate_and_the_method_of_the_readme_train_beside_ours(bench):
    bench("README.md")
    listed = pnn(["list"])
    assert re.search(r"splitters +from another package", listed) and re.search(r"one-sided +from another", listed)
    printed = pnn([*small(["compare", "splitters.toml"]), "--json"])
    rows = {r["method"]: r for r in map(json.loads, printed.strip().splitlines())}
    assert set(rows) == {"one-sided", "physics-aware"}
    probes, steps, batch, stages = 32, 2, 32, 2
    assert rows["one-sided"]["passes"] == probes * steps * batch and rows["physics-aware"]["passes"] == steps * batch
    assert rows["one-sided"]["writes"] == probes * steps * stages
    assert rows["one-sided"]["parameters_physical"] == 64 * 24 + 24 * 10
    assert rows["one-sided"]["joules"] is None, "no source was given for any"


def test_the_registry_lines_of_the_readme_are_like_ours():
    from algorithms.registry import METHODS
    from physics.registry import SUBSTRATES

    told = [b.text for b in blocks("README.md") if b.language == "text"]
    for name, folder, ours in (
        ("splitters", "physics.substrates", SUBSTRATES),
        ("one-sided", "algorithms.methods", METHODS),
    ):
        line = next(t for t in told if f'"{name}"' in t)
        (key, value), *more = eval("{" + line + "}").items()
        module, _, cls = value.partition(":")
        assert (key, module.rpartition(".")[0], more) == (name, folder, [])
        assert all(v.startswith(folder + ".") for v in ours.values())
        file = next(b.text for b in blocks("README.md") if b.file == module.rpartition(".")[2] + ".py")
        assert f"class {cls}" in file


def anchors(document):
    """The anchors that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_every_path_leads_somewhere(document):
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.M | re.S)
    home = (ROOT / document).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = home / path if path else ROOT / document
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"
    made = {b.file for b in blocks("README.md")}
    for path in re.findall(r"`((?:physics|algorithms|orchestrator|tests|tools|docs|examples)/[\w./-]*)`", text):
        assert (ROOT / path).exists() or Path(path).name in made, f"{path} does not exist"


def test_figures_are_those_that_documents_show():
    drawn = {p.name for p in (ROOT / "docs" / "images").glob("*.svg")}
    shown = {n for d in DOCUMENTS for n in re.findall(r"images/([\w-]+\.svg)\)", (ROOT / d).read_text())}
    assert drawn == shown


@pytest.mark.parametrize("note", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_is_short_dated_and_says_what_was_rejected(note):
    text = note.read_text()
    assert text.startswith(f"# {note.name[:4]}. ")
    assert re.search(r"^\d{4}-\d{2}-\d{2}\. ", text, re.M)
    assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "Rejected", "Consequences"]
    assert len(text.splitlines()) < 40
