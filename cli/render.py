"""`endorender render`: CT in, dataset out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import _completing as completing

if TYPE_CHECKING:
    from endorender.dataset import RenderConfig


@click.command("render")
@click.option(
    "--ct",
    multiple=True,
    metavar="PATH|sample|phantom:SEED",
    help="A CT, a folder with one folder or file per patient, or phantom:1..9; may be repeated.",
    shell_complete=completing.scans,
)
@click.option("--out", required=True, type=click.Path(), help="Folder of the dataset.")
@click.option("--config", type=click.Path(), help="YAML file with these options as keys; options override it.")
@click.option(
    "--preset",
    metavar="NAME",
    help="Variations of every view, lens and more (see: list preset).  [typical]",
    shell_complete=completing.named("preset"),
)
@click.option("--views", type=int, help="Views per patient.  [8]")
@click.option(
    "--poses",
    multiple=True,
    metavar="[FORMAT@]FILE",
    help="See from these (see: list poses); one for each --ct.",
    shell_complete=completing.posefiles,
)
@click.option("--size", metavar="WxH", help="Pixels.  [320x240]")
@click.option("--spp", type=int, help="Samples per pixel.  [64]")
@click.option("--noise", type=float, help="Error of display values (1: white) that is enough; --spp is then the most.")
@click.option("--seed", type=int, help="Everything random follows from it.  [0]")
@click.option(
    "--camera",
    metavar="SPEC",
    help="NAME or NAME:key=value,... (see: list camera).  [the preset's, or pinhole]",
    shell_complete=completing.named("camera"),
)
@click.option(
    "--scope",
    metavar="SPEC",
    help="Outside in mm, or NAME (see: list scope): kept out of tissue.  [what fits]",
    shell_complete=completing.named("scope", "auto"),
)
@click.option(
    "--light",
    metavar="SPEC",
    help="NAME or NAME:key=value,... (see: list light).  [endoscope]",
    shell_complete=completing.named("light"),
)
@click.option(
    "--surface",
    metavar="MODE",
    help="interface, hybrid or volume.  [interface]",
    shell_complete=completing.of_key("surface"),
)
@click.option(
    "--boundary",
    metavar="MODE",
    help="Light at the wall: straight or refracting.  [straight]",
    shell_complete=completing.of_key("boundary"),
)
@click.option(
    "--coat",
    metavar="SPEC",
    help="The wall: NAME or NAME:key=value,... (see: list coat).  [wet_ggx]",
    shell_complete=completing.named("coat"),
)
@click.option(
    "--depth",
    metavar="NAMES",
    help="Out of surface, median, expected; surface always is.  [surface]",
    shell_complete=completing.of_key("depth", after=","),
)
@click.option(
    "--response",
    metavar="SPEC",
    help="NAME (see: list response), NAME:key=value,... or key=value,..., over all looks'.",
    shell_complete=completing.named("response"),
)
@click.option(
    "--mucosa",
    metavar="SPEC",
    help="Vessels and film: none, procedural:key=value,...  [procedural]",
    shell_complete=completing.named("mucosa", "none"),
)
@click.option("--labels", multiple=True, metavar="MASK", help="Labels of tissue on a CT's own grid; one for each --ct.")
@click.option(
    "--label-tissue",
    multiple=True,
    metavar="LABEL=TISSUE",
    help="Tissue of a label (see: list tissue).",
    shell_complete=completing.named("tissue", after="="),
)
@click.option(
    "--denoise/--no-denoise",
    default=None,
    help="Filter the noise, with the geometry as guide.  [typical, training: yes]",
)
@click.option(
    "--device",
    metavar="NAME",
    help="auto, cpu, cuda, vulkan or metal (see: doctor).  [cpu]",
    shell_complete=completing.words(*completing.DEVICES),
)
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option(
    "--label", multiple=True, metavar="MASK[:LABELS]", help="Only air under this mask is lumen; one for each --ct."
)
@click.option("--resample", is_flag=True, default=None, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, default=None, help="Accept values that do not look like HU.")
@click.option("--cleanse", is_flag=True, default=None, help="Turn tagged fluid into air (see: inspect --cleanse).")
@click.option("--resume", is_flag=True, help="Continue an interrupted dataset; the options need not be repeated.")
@click.option("--retry-failed", is_flag=True, help="Continue, and try again what failed.")
@click.option("--dry-run", is_flag=True, help="Print counts, ranges of what is drawn, time and disk; write nothing.")
@click.option("--preview", is_flag=True, help="Write OUT.preview.png, a small noisy contact sheet, and nothing else.")
@click.option("--workers", type=int, metavar="N", help="Processes that render.  [1; with --cluster all of it]")
@click.option("--cluster", metavar="HOST:PORT|auto", help="Render on a Ray cluster; auto: on the one that runs here.")
@click.option("--only", metavar="ID", help="Render this one frame (PATIENT/VIEW/VARIATION), again if need be.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(ct: tuple[str, ...], out: str, config: str | None, only: str | None, as_json: bool, **flags: Any) -> None:
    """Fly an endoscope through CTs and write pictures with exact depth.

    Example: endorender render --ct sample --views 4 --size 160x120 --spp 16 --out frames
    """
    from cli._show import said
    from endorender.dataset import configure, remembered

    resume, retry, dry_run, preview = (flags.pop(k) for k in ("resume", "retry_failed", "dry_run", "preview"))
    workers, cluster = flags.pop("workers"), flags.pop("cluster")
    begun = out if resume or retry or only else None
    flags["ct"] = ct or None
    if begun:
        flags = remembered.recall(Path(out), flags)
    configuration = configure(config, begun, **flags)
    if dry_run:
        click.echo(estimated(configuration, as_json))
    elif preview:
        click.echo(said({"preview": glimpsed(configuration, out)}, as_json))
    else:
        remembered.keep(Path(out), configuration, flags)
        click.echo(said(rendered(configuration, out, resume, only, retry, workers, cluster), as_json))


def estimated(config: RenderConfig, as_json: bool = False) -> str:
    """Counts, ranges and estimates as text."""
    from cli._show import table
    from cli.progress import bar
    from endorender.dataset.plan import plan

    with bar("measuring", patience=0.6) as progress:
        found = plan(config, progress)
    if as_json:
        return table(found, True)
    drawn, estimate = found.pop("drawn"), found["estimate"]
    found["estimate"] = {"time": duration(3600 * estimate["hours"]), "disk": _size(estimate["gigabytes"])}
    lines = [table(found)]
    for name, varied in drawn.items():
        lines.append(f"{name}, drawn anew for each view:")
        width = max(map(len, varied))
        lines += [f"  {key:{width}}  {_range(values)}" for key, values in varied.items()]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """`2 h 4 min`, `12 min`, `40 s`."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if seconds >= 120 else f"{seconds:.0f} s"


def _size(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:.0f} MB"


def _range(values: list) -> str:
    if all(isinstance(v, float) for v in values):
        return f"{values[0]:g} to {values[1]:g}"
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def glimpsed(config: RenderConfig, out: str) -> Path:
    """Write the preview beside the dataset's folder; where it is."""
    from cli.progress import bar
    from endorender.dataset.plan import preview

    with bar("rendering", patience=0.6) as progress:
        return preview(config, out.rstrip("/") + ".preview.png", progress)


def rendered(
    config: RenderConfig,
    out: str,
    resume: bool,
    only: str | None,
    retry: bool,
    workers: int | None = None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Render; where things are. Frames that failed are an error once all others are there."""
    from cli.progress import bar
    from endorender.dataset import generate
    from endorender.dataset.writer import read_failed

    # A dataset may be cut off anywhere: what it lists is whole.
    with bar("rendering", patience=0.6) as progress:
        root = generate(config, out, resume, only, progress, retry, workers, cluster)
    if read_failed(root):
        raise click.ClickException(f"{root} lacks frames that failed, others are there: --retry-failed tries them")
    return {"dataset": root, "pictures": [root / "contact_sheet.png", root / "index.html"], "device": config.device}
