"""What `endorender fit` does and says."""

from __future__ import annotations

from typing import Any

import click

from endorender.errors import UserError


def fitted(out: str, steps: int, spp: int, repeats: int, parameters: str | None, **options: Any) -> str:
    """Fit and write; the numbers and where things are. An interruption leaves the best so far and is passed on."""
    from cli._options import mask_of, names
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
    said = report.text(done) + "\n" + "\n".join(f"wrote {file}" for file in files)
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
