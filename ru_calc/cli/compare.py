"""`ru-calc compare`: families of potentials side by side."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import can_resume
from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.reading import ACCEPT_FINDINGS, open_to_fit
from ru_calc.cli.shared import THREADS, use_threads

if TYPE_CHECKING:
    from ru_calc.studies.compare.start import Stored


@click.command("compare")
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the comparison.")
@click.option(
    "--protocol", type=click.Choice(["md", "paper"]), default="md", show_default=True,
    help="md: potentials for dynamics, each fitted for the same time; paper: Table 1 of the starting paper.",
)  # fmt: skip
@click.option("--families", help="Families to compare, as ani,kan. [default: all]")
@click.option(
    "--budget-min", type=click.FloatRange(0, min_open=True), help="CPU minutes of each fit (md). [default: 30]"
)
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random. [default: 0]")
@click.option("--quick", is_flag=True, help="A test of the whole in under a minute; its figures mean nothing.")
@click.option("--resume", is_flag=True, help="Resume the comparison in the folder, with its settings.")
@click.option("--licence", help="Licence of the weights, for the model files (md). [default: that of the labels]")
@ACCEPT_FINDINGS
@THREADS
def command(data: str, output: Path, protocol: str, families: str | None, threads: int, **options: Any) -> None:
    """Fit and test every family on DATA: an HDF5 file, or the name of a shipped set (distilled)."""
    from ru_calc.studies.compare.start import COMPARISON

    use_threads(threads)
    names = None if families is None else tuple(name.strip() for name in families.split(","))
    for name in ("budget_min", "licence"):
        if protocol == "paper" and options[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --protocol md")
    if options["quick"] and options["budget_min"] is not None:
        raise click.UsageError("--quick makes one epoch of each fit; leave out --budget-min")
    words = ["ru-calc", "compare", data, "-o", str(output), "--protocol", protocol]
    can_resume(COMPARISON, output, [*words, *(["--families", families] if families else []), "--resume"])
    (_paper if protocol == "paper" else _md)(data, output, names, options)
    click.echo((output / "table.md").read_text(encoding="utf-8"))
    click.echo(f"wrote {output}/table.md, results.json, figure.png")


def _md(data: str, output: Path, names: tuple[str, ...] | None, options: dict[str, Any]) -> None:
    from ru_calc.studies.compare.run import compare_families
    from ru_calc.studies.compare.settings import QUICK, MDProtocol, check_families
    from ru_calc.studies.compare.start import check_start

    before = _stored(output, options, MDProtocol)
    start = QUICK if options["quick"] else MDProtocol(**(before.settings if before else {}))
    settings = replace(start, **_given(options, "seed", "budget_min"))
    chosen = None if names is None else check_families(names)
    check_start(output, settings, options["resume"])
    (dataset,) = open_to_fit([data], options["accept_findings"], options["resume"])
    with progress_bar("fit") as bar:
        compare_families(dataset, output, settings, chosen, options["resume"], options["licence"], say=say, bar=bar)


def _paper(data: str, output: Path, names: tuple[str, ...] | None, options: dict[str, Any]) -> None:
    from ru_calc.studies.paper.run import check_paper_start, run_paper
    from ru_calc.studies.paper.settings import PaperProtocol, SoapSettings

    stored = _stored(output, options, PaperProtocol)
    before = dict(stored.settings) if stored else {}
    if stored:
        before["soap"] = SoapSettings(**before["soap"])
        names = names or stored.families or None
    quick = {"quick": True} if options["quick"] else {}
    settings = PaperProtocol(**{**before, **quick, **_given(options, "seed"), **({"families": names} if names else {})})
    check_paper_start(output, settings, options["resume"])
    (dataset,) = open_to_fit([data], options["accept_findings"], options["resume"])
    with progress_bar("epochs") as bar:
        run_paper(dataset, output, settings, say=say, bar=bar, resume=options["resume"])


def _stored(folder: Path, options: dict[str, Any], kind: type) -> Stored | None:
    """The comparison to resume; None for a new one, or one by the other protocol, which is refused later."""
    from ru_calc.studies.compare.start import stored

    before = stored(folder) if options["resume"] else None
    return before if before and {*before.settings} <= {field.name for field in fields(kind)} else None


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}
