"""The command line. Heavy modules are imported inside the commands, so that `pnn --help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train physical neural networks: simulated or real chips, by many methods, on one machine or a cluster.\n\n"
    "Example: pnn compare examples/digits.toml",
)

RunFile = Annotated[str, typer.Argument(metavar="RUN.toml", help="The run file.")]
Local = Annotated[bool, typer.Option("--local", help="One process, no Ray: the same bytes.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=4096, help="Ray actors (default 2).")]
Address = Annotated[str | None, typer.Option("--address", help="An existing Ray cluster, as HOST:PORT or auto.")]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where results go (default: runs/...).")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the run file.")]
Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object (compare: one a run).")]


@app.command(epilog="Example: pnn train examples/digits.toml --set method.name=dfa --set train.steps=100 --json")
def train(
    run: RunFile,
    local: Local = False,
    workers: Workers = None,
    address: Address = None,
    out: Out = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Train one run and measure it on its chips."""
    from orchestrator.cli import running

    _exclusive(local, workers, address)
    running.train_command(run, local, workers, address, out, set_ or [], json)


@app.command(epilog="Example: pnn compare examples/digits.toml --set compare.seeds=[0,1] --out results")
def compare(
    run: RunFile,
    local: Local = False,
    workers: Workers = None,
    address: Address = None,
    out: Out = None,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Train every method of the [compare] table on the same chips; print a table, save a figure."""
    from orchestrator.cli import comparing

    _exclusive(local, workers, address)
    comparing.compare_command(run, local, workers, address, out, set_ or [], json)


@app.command(epilog="Example: pnn evaluate runs/digits-20260101-120000")
def evaluate(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder of a finished run.")],
    local: Local = False,
    workers: Workers = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Measure a finished run again, on the same chips."""
    from orchestrator.cli import running

    _exclusive(local, workers, address)
    running.evaluate_command(directory, local, workers, address, json)


@app.command("list", epilog="Example: pnn list")
def list_() -> None:
    """List substrates, methods and data sets."""
    from orchestrator.cli import info

    info.list_command()


@app.command(epilog="Example: pnn doctor")
def doctor() -> None:
    """Check this machine: versions, cores, memory, data sets; one line each, with what to do."""
    from orchestrator.cli import info

    info.doctor_command()


@app.command(epilog="Example: pnn schema > run.schema.json")
def schema() -> None:
    """Print the JSON schema of run files, with the options of every substrate and method."""
    from orchestrator.cli import info

    info.schema_command()


def _exclusive(local: bool, workers: int | None, address: str | None) -> None:
    if local and (workers or address):
        raise typer.BadParameter("--local is one process: leave out --workers and --address")


def main() -> None:
    """Entry point: user errors exit 2, failures while running 1, both without a traceback (PNN_DEBUG=1 shows it)."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is left running.\n")
        raise SystemExit(130) from None
    except Exception as error:
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
    """Errors of devices, of data, of Ray and of the operating system say all there is to say."""
    from orchestrator.data import DataError
    from physics.contracts import DeviceError

    ray_module = sys.modules.get("orchestrator.pools.ray")
    cluster = (ray_module.ClusterError,) if ray_module else ()
    return isinstance(error, (DeviceError, DataError, OSError, *cluster))
