"""`endorender experiment`: the paper's three claims, put to the test."""

from __future__ import annotations

import click


@click.command("experiment")
@click.argument("name", metavar="adapt|data|variety")
@click.option("--out", required=True, type=click.Path(), help="Folder of the experiment; the same one goes on.")
@click.option("--preset", metavar="NAME", default="small", show_default=True, help="tiny, small or paper.")
@click.option("--ct", multiple=True, metavar="PATH|phantom:SEED", help="CTs instead of phantoms; three or more.")
@click.option("--foreign", multiple=True, metavar="DIR|LAYOUT@DIR", help="A dataset to judge on too (adapt).")
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="What renders: auto, cpu, cuda, vulkan, metal."
)
def command(name: str, out: str, preset: str, ct: tuple[str, ...], foreign: tuple[str, ...], device: str) -> None:
    """Render, train, evaluate and answer: adapt (fine-tuning on cinematic images lowers the error), data (half the
    images suffice), variety (more conditions narrow the gap to unseen patients). See docs/protocol.md.

    Example: endorender experiment adapt --preset tiny --out experiments/adapt
    """
    from cli.progress import stages
    from training.experiments import experiment

    with stages() as stage:
        page = experiment(name, out, preset, stage, ct, foreign, device)
    click.echo(f"page: {page}\ntables: {page.parent / 'tables'}")
