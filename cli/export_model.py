"""`endorender export-model`: a trained network as an ONNX file."""

from __future__ import annotations

import click


@click.command("export-model")
@click.argument("run", type=click.Path())
@click.option("--out", required=True, type=click.Path(), help="The file to write, such as depth.onnx.")
@click.option("--size", metavar="WxH", default="128x96", show_default=True, help="Pixels of the images it will see.")
def command(run: str, out: str, size: str) -> None:
    """Export the network of RUN to ONNX and check it against torch. LoRA adapters are merged in.

    Example: endorender export-model runs/tuned --size 320x240 --out depth.onnx
    """
    from training.export import export_model

    click.echo(f"model: {export_model(run, out, size)}")
