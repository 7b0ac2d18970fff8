"""`endorender evaluate`: a trained network judged on patients."""

from __future__ import annotations

import click

from cli import _completing as completing


@click.command("evaluate")
@click.argument("run", type=click.Path())
@click.option(
    "--data",
    "dataset",
    required=True,
    multiple=True,
    type=click.Path(),
    metavar="DIR|LAYOUT@DIR",
    help="Folder of the dataset, or of somebody else's (see: list layout); may be repeated.",
)
@click.option("--out", required=True, type=click.Path(), help="Folder of the evaluation.")
@click.option(
    "--protocol",
    default="metric,median",
    show_default=True,
    help="How predictions are aligned (see: list protocol).",
    shell_complete=completing.named("protocol", after=","),
)
@click.option(
    "--split",
    default="test",
    show_default=True,
    help="train, val or test.",
    shell_complete=completing.words("train", "val", "test"),
)
@click.option("--patients", metavar="A,B", help="Patients by alias (2:p001 of the second --data), instead of a split.")
@click.option("--variations", metavar="A,B", help="Which images of each view.  [all]")
@click.option(
    "--input-size",
    metavar="WxH|native",
    help="Pixels at which the network sees the pictures.  [the scale of its training]",
)
@click.option("--label", help="The network's name in reports.")
@click.option("--title", help="The data's name in reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    run: str,
    dataset: tuple[str, ...],
    out: str,
    protocol: str,
    split: str,
    patients: str | None,
    variations: str | None,
    input_size: str | None,
    label: str | None,
    title: str | None,
    as_json: bool,
) -> None:
    """Judge the network of RUN on a dataset, by patients it has not seen.

    Example: endorender evaluate runs/synthetic --data frames --variations deep_red --out evaluations/synthetic
    """
    from cli._options import names
    from cli._show import held, scores
    from cli.progress import bar
    from training.evaluate import evaluate

    judges, who, what = names(protocol) or [], names(patients), names(variations)
    with bar("evaluating") as progress:
        done = evaluate(
            run, dataset, out, judges, split, who, what, label, title, progress=progress, input_size=input_size
        )
    click.echo(held(done / "summary.json") if as_json else f"{scores(done)}\nevaluation: {done}")
