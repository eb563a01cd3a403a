"""The command line. Heavy modules are imported inside the commands, so that `pnn --help` answers at once."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from orchestrator import garbage
from orchestrator.cli.reference import reference

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train physical neural networks: simulated or real chips, by many methods, on one machine or a cluster.\n\n"
    "Example: pnn compare examples/digits.toml",
)

RunFile = Annotated[str, typer.Argument(metavar="RUN.toml", help="The run file.")]
Directory = Annotated[str, typer.Argument(metavar="DIR", help="The folder of a run.")]
Local = Annotated[bool, typer.Option("--local", help="One process, no Ray: the same bytes.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=4096, help="Ray actors (default 2).")]
Address = Annotated[str | None, typer.Option("--address", help="An existing Ray cluster, as HOST:PORT or auto.")]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where results go (default: runs/...).")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the run file.")]
Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object (compare: one a run).")]
Tracking = Annotated[
    str | None,
    typer.Option("--tracking", metavar="URI", help="Store of MLflow, or none (default: sqlite, runs/mlflow.db)."),
]


def somewhere(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where work is done and tracked; it gets them as one `where`."""
    options: dict[str, tuple[Any, Any]] = {
        "local": (Local, False),
        "workers": (Workers, None),
        "address": (Address, None),
        "tracking": (Tracking, None),
    }

    @functools.wraps(command)
    def with_options(local: bool, workers: int | None, address: str | None, tracking: str | None, **rest: Any) -> None:
        from orchestrator.cli.running import Where

        if local and (workers or address):
            raise typer.BadParameter("--local is one process: leave out --workers and --address")
        command(where=Where(local, workers, address, tracking), **rest)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "where"]
    added = [inspect.Parameter(n, own[0].kind, default=d, annotation=a) for n, (a, d) in options.items()]
    with_options.__signature__ = inspect.Signature([own[0], *added, *own[1:]])  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return with_options


@app.command(epilog="Example: pnn train examples/digits.toml --set method.name=dfa --set train.steps=100 --json")
@somewhere
def train(
    run: RunFile,
    where: Any,
    out: Out = None,
    set_: Sets = None,
    profile: Annotated[bool, typer.Option("--profile", help="Tell where the time goes; slows small steps.")] = False,
    json: Json = False,
) -> None:
    """Train one run and measure it on its chips. It can be killed at any time; pnn resume goes on."""
    from orchestrator.cli import running

    running.train_command(run, where, out, set_ or [], json, profile)


@app.command(epilog="Example: pnn resume runs/digits-20260101-120000 --local")
@somewhere
def resume(
    directory: Directory,
    where: Any,
    from_snapshot: Annotated[
        bool, typer.Option("--from-snapshot", help="Give up a damaged journal; go on from the newest whole snapshot.")
    ] = False,
    json: Json = False,
) -> None:
    """Go on with a run or a comparison where it was; of a finished run, tell its result again."""
    from orchestrator.cli import running

    running.resume_command(directory, where, from_snapshot, json)


@app.command(epilog="Example: pnn compare examples/digits.toml --set compare.seeds=[0,1] --out results")
@somewhere
def compare(
    run: RunFile,
    where: Any,
    out: Out = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Train every method of the [compare] table on the same chips; print a table, save a figure."""
    from orchestrator.cli import comparing

    comparing.compare_command(run, where, out, set_ or [], json)


@app.command(epilog="Example: pnn evaluate runs/digits-20260101-120000")
@somewhere
def evaluate(
    directory: Directory,
    where: Any,
    json: Json = False,
) -> None:
    """Measure a run again, as far as it came, on the same chips."""
    from orchestrator.cli import running

    running.evaluate_command(directory, where, json)


@app.command(epilog="Example: pnn replay runs/digits-20260101-120000 --until 100")
def replay(
    directory: Directory,
    until: Annotated[int | None, typer.Option("--until", metavar="STEP", help="Stop after so many steps.")] = None,
    json: Json = False,
) -> None:
    """Rebuild the parameters of a run from its journal, without devices and data, and print their SHA-256."""
    from orchestrator.cli import journals

    journals.replay_command(directory, until, json)


@app.command(epilog="Example: pnn diff runs/a runs/b")
def diff(
    a: Annotated[str, typer.Argument(metavar="DIR", help="The folder of a run.")],
    b: Annotated[str, typer.Argument(metavar="DIR", help="The folder of another.")],
) -> None:
    """Name the first step at which two runs part (exit code 1), if they do."""
    from orchestrator.cli import journals

    journals.diff_command(a, b)


track = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The tracking store.")
app.add_typer(track, name="track")


@track.command(epilog="Example: pnn track sync runs/digits-20260101-120000")
def sync(
    directories: Annotated[list[str] | None, typer.Argument(metavar="[DIR]...", help="Default: all in runs/.")] = None,
    tracking: Tracking = None,
) -> None:
    """Export what the tracking store lacks, and put the status of killed runs right."""
    from orchestrator.cli import tracking as commands

    commands.sync_command(directories or [], tracking)


@app.command(epilog="Example: pnn ui --port 5001")
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of this machine's loopback.")] = 5000,
    tracking: Tracking = None,
) -> None:
    """Show the tracked runs in a browser: MLflow's own pages, on this machine only. Ctrl+C ends it."""
    from orchestrator.cli import tracking as commands

    commands.ui_command(port, tracking)


@app.command("list", epilog="Example: pnn list")
def list_() -> None:
    """List substrates, methods and data sets."""
    from orchestrator.cli import info

    info.list_command()


@app.command(epilog="Example: pnn doctor")
def doctor(out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where runs will go.")] = None) -> None:
    """Check this machine: versions, memory, clusters, ports, data, disk; one line each, with what to do."""
    from orchestrator.cli import info

    info.doctor_command(out)


@app.command(epilog="Example: pnn bench es-1e5 device/8x1ms --json")
def bench(
    rows: Annotated[list[str] | None, typer.Argument(metavar="[ROW]...", help="Rows, or parts as ROW/PART.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every row.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Small and without bars: does everything run?")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only tell the rows, their parts and bars.")] = False,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Keep each row in a file there.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out rows that are whole in --out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each part on stdout.")] = False,
) -> None:
    """Measure this program against its peers, in turn on the same cores; exit code 1 if a bar is missed unexplained."""
    from orchestrator.cli import benching

    if rows and all_:
        raise typer.BadParameter("--all is every row: leave out the names")
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out DIR, where the rows are kept")
    if list_ or not (rows or all_ or quick):
        benching.list_command(rows or [])
    else:
        benching.bench_command(rows or [], quick, json, out, resume)


app.add_typer(reference, name="reference")


@app.command(epilog="Example: pnn schema > run.schema.json")
def schema() -> None:
    """Print the JSON schema of run files, with the options of every substrate and method."""
    from orchestrator.cli import info

    info.schema_command()


def main() -> None:
    """Entry point: user errors exit 2, failures while running 1, both without a traceback (PNN_DEBUG=1 shows it)."""
    garbage.rarely()
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BaseException as error:
        signum = getattr(error, "signum", None)  # of cli.interrupts.Interrupted
        if signum is not None:
            sys.stderr.write("Interrupted. Nothing is left running.\n")
            raise SystemExit(128 + signum) from None
        if not isinstance(error, Exception):
            raise
        if os.environ.get("PNN_DEBUG"):
            raise
        from orchestrator.problems import RunFileError

        if isinstance(error, RunFileError):
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None
        if not _expected(error):
            raise
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(1) from None


def _expected(error: Exception) -> bool:
    """Errors of devices, of data, of clusters and of the operating system say all there is to say."""
    from orchestrator.data import DataError
    from orchestrator.pools import ClusterError
    from physics.contracts import DeviceError

    return isinstance(error, (DeviceError, DataError, OSError, ClusterError))
