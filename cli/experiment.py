"""`endorender experiment`: the paper's three claims, and one of ours, put to the test."""

from __future__ import annotations

import re
from typing import Any

import click

from cli import _completing as completing


@click.command("experiment")
@click.argument(
    "name", metavar="adapt|data|variety|mix", shell_complete=completing.words("adapt", "data", "variety", "mix")
)
@click.option("--out", required=True, type=click.Path(), help="Folder of the experiment; the same one goes on.")
@click.option(
    "--preset",
    metavar="NAME",
    default="small",
    show_default=True,
    help="tiny, small or paper.",
    shell_complete=completing.words("tiny", "small", "paper"),
)
@click.option(
    "--ct",
    multiple=True,
    metavar="PATH|phantom:SEED",
    help="CTs instead of phantoms; three or more.",
    shell_complete=completing.scans,
)
@click.option("--foreign", multiple=True, metavar="NAME=DIR", help="A dataset to judge on too, but for variety.")
@click.option("--data", type=click.Path(), help="Where frames are rendered to, e.g. a scratch disk.  [OUT/data]")
@click.option("--setting", "settings", multiple=True, metavar="NAME", help="Only this one: paper, today, ...")
@click.option("--seed", "seeds", multiple=True, type=int, metavar="N", help="Only this repetition, from 0.")
@click.option(
    "--until",
    metavar="STAGE",
    default="answer",
    help="render, train, evaluate or answer.  [answer]",
    shell_complete=completing.words("render", "train", "evaluate", "answer"),
)
@click.option("--workers", type=int, metavar="N", help="Processes that render.  [1]")
@click.option(
    "--device",
    metavar="NAME",
    default="cpu",
    show_default=True,
    help="Renders and trains: auto, cpu, cuda, metal.",
    shell_complete=completing.words(*completing.DEVICES),
)
@click.option("--dry-run", is_flag=True, help="Measure here, and tell the CPU hours that are left; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    name: str,
    ct: tuple[str, ...],
    foreign: tuple[str, ...],
    dry_run: bool,
    until: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Render, train, evaluate and answer: adapt (fine-tuning on cinematic images lowers the error), data (half the
    images suffice), variety (more conditions narrow the gap to unseen patients), mix (path-traced pictures beside
    plain ones lower the error). See docs/protocol.md.

    Example: endorender experiment adapt --preset tiny --out experiments/adapt
    """
    from cli._show import said
    from cli.progress import stages
    from training.experiments import experiment

    named = dict(_named(text) for text in foreign)
    if dry_run:
        click.echo(_cost(name, as_json, cts=ct, foreign=named, **flags))
        return
    with stages() as stage:
        page = experiment(name, stage=stage, cts=ct, foreign=named, until=until, **flags)  # type: ignore[arg-type]
    if as_json:
        click.echo(said({"page": page, "tables": page and page.parent / "tables"}, True))
    elif page is None:
        click.echo("not all is done yet: the same command without --setting, --seed and --until does the rest")
    else:
        click.echo(said({"page": page, "tables": page.parent / "tables"}))


def _named(text: str) -> tuple[str, str]:
    from endorender.errors import UserError

    found = re.fullmatch(r"([A-Za-z][A-Za-z0-9_-]{0,30})=(.+)", text)
    if not found:
        raise UserError("--foreign takes NAME=DIR: the name stands in the answer, as in --foreign mitsuba=DIR")
    return found[1], found[2]


def _cost(name: str, as_json: bool, **values: Any) -> str:
    """Hours by stage, and in all."""
    from cli._show import table
    from cli.render import duration
    from training.experiments import prepared
    from training.study_cost import cost

    study, _, plan = prepared(name, **values, write=False)
    rows = cost(study, plan, values["settings"], values["seeds"])
    if as_json:
        return table({"hours": sum(row["hours"] for row in rows), "left": rows}, True)
    if not rows:
        return "nothing is left but the answer"
    lines = [f"{r['stage']:9} {r['count']:>9} {duration(3600 * r['hours']):>12}  {r['what']}" for r in rows]
    whole = sum(row["hours"] for row in rows)
    kind = "CPU time" if values["device"] == "cpu" else "time"
    return "\n".join([*lines, f"in all, {kind} of this machine: {duration(3600 * whole)}"])
