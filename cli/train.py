"""`endorender train`: a depth network on a dataset, from scratch or from another run's weights."""

from __future__ import annotations

from typing import Any

import click

from cli import _completing as completing


@click.command("train")
@click.argument("dataset", nargs=-1, type=click.Path())
@click.option("--data", multiple=True, type=click.Path(), metavar="DIR|LAYOUT@DIR", help="The same as DATASET.")
@click.option("--out", required=True, type=click.Path(), help="Folder of the run.")
@click.option("--config", type=click.Path(), help="YAML file with a training configuration; options override it.")
@click.option("--init-from", metavar="RUN", type=click.Path(), help="Fine-tune this run's network.")
@click.option(
    "--pretrained", metavar="DIR", type=click.Path(), help="Weights that transformers saved, in a local folder."
)
@click.option(
    "--fine-tune",
    metavar="MODE",
    help="full, head, last-layer or lora.  [full]",
    shell_complete=completing.words("full", "head", "last-layer", "lora"),
)
@click.option("--model", metavar="NAME", help="See: list model.  [unet]", shell_complete=completing.named("model"))
@click.option("--loss", metavar="NAME", help="See: list loss.  [silog]", shell_complete=completing.named("loss"))
@click.option("--variations", metavar="A,B", help="Which images of each view.  [all]")
@click.option("--images", type=int, help="How many training frames.  [all]")
@click.option("--steps", type=int, help="Optimiser steps.  [400]")
@click.option("--batch", type=int, help="Images per step.  [8]")
@click.option("--learning-rate", type=float, help="Peak rate of AdamW.  [0.002]")
@click.option("--seed", type=int, help="Weights, order and augmentation follow from it.  [0]")
@click.option(
    "--device",
    metavar="NAME",
    help="auto, cpu, cuda or metal.  [auto]",
    shell_complete=completing.words("auto", "cpu", "cuda", "metal"),
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME",
    help="Follow in tensorboard, wandb or mlflow.",
    shell_complete=completing.words("tensorboard", "wandb", "mlflow"),
)
@click.option("--compile", is_flag=True, default=None, help="torch.compile the network: quicker steps after minutes.")
@click.option("--find-rate", is_flag=True, help="Print the rate that a range test suggests; write and keep nothing.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
def command(
    dataset: tuple[str, ...],
    data: tuple[str, ...],
    out: str,
    config: str | None,
    init_from: str | None,
    pretrained: str | None,
    resume: bool,
    find_rate: bool,
    loggers: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train a network on the patients of each DATASET's split train; LAYOUT@DIR takes others' (see: list layout).

    Example: endorender train frames --variations synthetic --steps 400 --out runs/synthetic
    """
    from cli._options import training_values
    from cli.progress import bar
    from training.trainer import train

    values, several = training_values(config, {**flags, "loggers": loggers or None}), [*dataset, *data]
    if find_rate:
        from training.rates import find_rate as found

        click.echo(f"learning rate: {found(values, several, init_from, pretrained).suggested:.3g}")
        return
    with bar("training") as progress:
        run = train(values, out, several, init_from, resume, progress, click.echo, pretrained)
    click.echo(f"run: {run}")
