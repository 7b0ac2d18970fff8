"""`endorender fit`: tissue and response from a clinic's own photographs."""

from __future__ import annotations

from typing import Any

import click

from cli import _completing as completing
from endorender.errors import UserError


@click.command("fit")
@click.option(
    "--ct", required=True, metavar="PATH|sample|phantom:SEED", help="The patient's CT.", shell_complete=completing.scans
)
@click.option("--images", required=True, type=click.Path(), metavar="DIR", help="Photographs, or a dataset's folder.")
@click.option("--camera", required=True, type=click.Path(), metavar="CALIB", help="Calibration, YAML or JSON.")
@click.option("--poses", type=click.Path(), metavar="FILE", help="world_from_camera of each photograph.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="YAML, for render --config.")
@click.option("--pose", "refine", is_flag=True, help="Refine the poses against the CT, and write them.")
@click.option("--variation", metavar="NAME", help="Which pictures of a dataset that has several of a view.")
@click.option(
    "--look",
    default="pale_pink",
    show_default=True,
    help="Where the tissue starts (see: list tissue).",
    shell_complete=completing.looks,
)
@click.option(
    "--light",
    metavar="SPEC",
    help="The scope's light, as for render.  [endoscope]",
    shell_complete=completing.named("light"),
)
@click.option("--response", metavar="VALUES", help="What is known of the response: key=value,...  [gamma=2.2]")
@click.option("--parameters", metavar="A,B", help="What to fit (docs/fitting.md).  [albedo, g, coat, exposure, gamma]")
@click.option("--size", default=64, show_default=True, help="Longer side of the pictures compared, pixels.")
@click.option("--views", default=6, show_default=True, help="Photographs used at most; without poses, views flown.")
@click.option("--steps", default=12, show_default=True, help="Of the fit; with more, samples grow more slowly.")
@click.option("--spp", default=96, show_default=True, help="Samples per pixel of the last step.")
@click.option("--repeats", default=3, show_default=True, help="Fits of other seeds, for the intervals.")
@click.option("--seed", default=0, show_default=True, help="Everything random follows from it.")
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option("--label", metavar="MASK[:LABELS]", help="Only air under this mask is lumen (NIfTI or DICOM SEG).")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--cleanse", is_flag=True, help="Turn tagged fluid into air (see: inspect --cleanse).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(out: str, **options: Any) -> None:
    """Fit how the wall looks to photographs, so that rendered data look like them.

    Example: endorender fit --ct CT --images photographs --camera scope.yaml --poses poses.json --out tissue.yaml
    """

    click.echo(fitted(out, **options))


def fitted(out: str, steps: int, spp: int, repeats: int, parameters: str | None, as_json: bool, **options: Any) -> str:
    """Fit and write; the numbers and where things are. An interruption leaves the best so far and is passed on."""
    from cli._options import mask_of, names
    from cli._show import held
    from cli.progress import bar
    from endorender.dataset.spec import pairs, parse_spec, regions
    from endorender.inverse import Plan, calibrate, report
    from endorender.outputs import refuse_over

    if min(steps, spp) < 1 or repeats < 0:
        raise UserError("--steps and --spp must be at least 1, --repeats at least 0", "INVALID_VALUE")
    read = (*(options[name] for name in ("ct", "images", "camera", "poses")), mask_of(options["label"]))
    refuse_over(report.files(out), read)
    plan = Plan(steps=steps, first=max(2, spp // 6), last=spp, jacobian=max(2, spp // 4), repeats=repeats)
    options["region"] = regions(options["region"])
    light, known = parse_spec(options.pop("light")), options.pop("response")
    response = pairs(known, "response") if known else {}
    with bar("fitting") as progress:
        done = calibrate(
            **options, light=light, response=response, names=names(parameters), plan=plan, progress=progress
        )
    files = report.write(done, out)
    facts = next(file for file in files if file.suffix == ".json" and not file.name.endswith(".poses.json"))
    said = held(facts) if as_json else "\n".join([report.text(done), *(f"wrote {file}" for file in files)])
    if done.found.stopped:
        click.echo(said)
        if done.found.stopped == "interrupted":
            raise KeyboardInterrupt
        raise UserError(
            f"the fit diverged; {out} holds the best parameters so far: start from a nearer --look, or fit fewer "
            "--parameters",
            "DIVERGED",
        )
    return said
