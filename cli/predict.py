"""`endorender predict`: depth of pictures or a video by a trained network."""

from __future__ import annotations

import click

from cli import _completing as completing


@click.command("predict")
@click.argument("run", required=False, type=click.Path())
@click.option("--images", required=True, type=click.Path(), metavar="DIR|VIDEO", help="Pictures, or a video.")
@click.option("--out", required=True, type=click.Path(), help="Folder of the predictions.")
@click.option("--camera", type=click.Path(), metavar="CALIB", help="Calibration, YAML or JSON, as for fit.")
@click.option(
    "--formats",
    metavar="A,B",
    help="png, exr, npz, preview, points, confidence.  [all; a video: some]",
    shell_complete=completing.words("png", "exr", "npz", "preview", "points", "confidence", after=","),
)
@click.option(
    "--mask",
    default="auto",
    show_default=True,
    metavar="auto|none",
    help="The scope's black surround.",
    shell_complete=completing.words("auto", "none"),
)
@click.option(
    "--confidence/--no-confidence",
    default=True,
    show_default=True,
    help="How far copies agree; costs three times more.",
)
@click.option("--input-size", metavar="WxH|native", help="Pixels at which the network sees.  [the scale of training]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="auto, cpu, cuda or metal.",
    shell_complete=completing.words("auto", "cpu", "cuda", "metal"),
)
@click.option("--resume", is_flag=True, help="Go on where it was interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    run: str | None,
    images: str,
    out: str,
    camera: str | None,
    formats: str | None,
    mask: str,
    confidence: bool,
    input_size: str | None,
    device: str,
    resume: bool,
    as_json: bool,
) -> None:
    """Predict depth by the network of RUN, a run's folder or an ONNX file; without it by the one that ships.

    Example: endorender predict runs/tuned --images photographs --camera scope.yaml --out depth
    """
    from cli._options import names
    from cli._show import held
    from cli.progress import bar
    from training.predict import SUMMARY, counted, predict

    kinds = names(formats)
    with bar("predicting") as progress:
        done = predict(run, images, out, camera, kinds, mask, confidence, input_size, device, resume, progress)
    click.echo(held(done / SUMMARY) if as_json else "pictures with a depth: {} of {}".format(*counted(done)))
