"""`pnn reference` and its options; what its commands do is in `proving`."""

from __future__ import annotations

from typing import Annotated

import typer

reference = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What others have published, and what ours reaches."
)


@reference.command("list", epilog="Example: pnn reference list")
def list_() -> None:
    """List the cases, their parts and bars."""
    from orchestrator.cli import proving

    proving.list_command()


@reference.command(epilog="Example: pnn reference run dfa-mnist cosine/1000-100 --json")
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Cases, or parts as CASE/PART.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every case.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Every case that takes minutes.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Train only the seeds that have no result yet.")] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="Where results go (default: docs/results/reference, or reference)."),
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="At most so many seeds of each part.")] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0, help="What a long case may take.")] = 90.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each part on stdout.")] = False,
) -> None:
    """Measure cases; exit code 1 if a part fails, or misses its bar without a reason recorded beside it."""
    from orchestrator.cli import proving

    if bool(names) + all_ + quick != 1:
        raise typer.BadParameter("name cases, or say --quick, or --all: one of the three")
    proving.run_command(names or [], quick, proving.How(resume, seeds, minutes, json), out)
