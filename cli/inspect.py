"""`endorender inspect`: what a CT is, before hours are spent on it."""

from __future__ import annotations

from typing import Any

import click

from cli import _completing as completing


@click.command("inspect")
@click.argument("path", shell_complete=completing.scans)
@click.option("--series", metavar="NUMBER|UID", help="Which series of a DICOM folder.")
@click.option("--phase", metavar="N|all", help="Which of several scans of one place under one series.")
@click.option("--region", metavar="N|N,N", help="Which lumen: 1 is the largest; several: one after the other.")
@click.option("--label", metavar="MASK[:LABELS]", help="Only air under this mask is lumen (NIfTI or DICOM SEG).")
@click.option(
    "--scope",
    metavar="SPEC",
    help="Outside in mm, or NAME (see: list scope): say whether it passes.",
    shell_complete=completing.named("scope"),
)
@click.option("--cleanse", metavar="PNG", help="Take tagged fluid out, and draw here what was changed.")
@click.option("--resample", is_flag=True, help="Accept missing slices and gantry tilt; interpolate.")
@click.option("--assume-hu", is_flag=True, help="Accept values that do not look like HU.")
@click.option("--preview", type=click.Path(dir_okay=False), help="Write a PNG of three sections and a histogram here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: str,
    series: str | None,
    phase: str | None,
    region: str | None,
    label: str | None,
    scope: str | None,
    cleanse: str | None,
    resample: bool,
    assume_hu: bool,
    preview: str | None,
    as_json: bool,
) -> None:
    """Show what was read from a CT (a path, sample, or phantom:SEED): its series, grid, HU, lumens, warnings.

    Of a folder with several series all are listed; --series looks into one.

    Example: endorender inspect /data/colonography --preview sections.png
    """
    import json

    facts = inspected(path, series, region, label, scope, cleanse, resample, assume_hu, preview, phase)
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else shown(facts))
    pictures: dict[str, Any] = {"preview": preview, "what was cleansed": cleanse if facts.get("tagged_fluid") else None}
    for name, file in pictures.items():
        if file and "size" in facts:
            click.echo(f"{name}: {file}", err=as_json)


def inspected(
    path: str,
    series: str | None,
    region: str | None,
    label: str | None,
    scope: str | None,
    cleanse: str | None,
    resample: bool,
    assume_hu: bool,
    preview: str | None,
    phase: str | None = None,
) -> dict[str, Any]:
    """Facts of the one volume that was chosen; of several, their list under `series` alone. Writes the pictures."""
    from cli._options import mask_of
    from cli.progress import bar
    from endorender import ct
    from endorender.ct import inspection
    from endorender.dataset.spec import parse_scope, regions
    from endorender.outputs import refuse_over

    wide = None if scope is None else parse_scope(scope).diameter
    chosen = regions(region)
    refuse_over((preview, cleanse), (path, mask_of(label)))
    with bar("reading") as progress:
        try:
            volume = ct.open_ct(path, series, resample, assume_hu, progress, phase)
        except ct.CTError as error:
            if error.code not in ("SERIES_AMBIGUOUS", "MIXED_GEOMETRY"):
                raise
            return {"series": ct.survey.survey(path, resample, assume_hu, progress), "choose": "--series NUMBER"}
    mask = None if label is None else ct.read_organ(label, volume)[0]
    fluid = ct.cleanse.tagged(volume)
    facts: dict[str, Any] = {}
    if fluid is not None:
        done = cleanse is not None
        facts["tagged_fluid"] = {"pools_ml": list(fluid.pools_ml), "hu": round(fluid.hu), "cleansed": done}
        if cleanse is not None:
            before = volume
            volume, _ = ct.cleanse.cleanse(volume, fluid)
            ct.cleanse.picture(before, volume, fluid, cleanse)
            del before
        fluid = None  # a mask of a large scan is large
    lumen = way = None
    shown = volume
    try:
        grid, under = inspection.on_grid(volume, mask)
        ready = ct.prepare(grid, chosen, under)
    except ct.CTError as error:
        if error.code not in ("LUMEN", "NO_PATH") or region is not None or mask is not None:
            raise  # what was asked for is not there
        facts["lumen_problem"] = {"code": error.code, "problem": str(error)}
    else:
        shown, lumen, way = ready
        facts["lumens"], facts["gaps"] = ct.lumens(grid, under, wide, None if isinstance(chosen, tuple) else ready)
        if wide is not None:
            facts["scope"] = {"diameter_mm": wide, **inspection.passage(way, wide)}
    facts = ct.describe(volume, lumen, way) | facts
    if isinstance(chosen, tuple):
        facts["region"] = list(chosen)
    if preview:
        ct.preview(shown, lumen, way, preview, volume)
    return facts


def shown(facts: dict[str, Any]) -> str:
    """For people: a table of series, or the one volume with its lumens."""
    if "choose" in facts:
        rows = [_series(row) for row in facts["series"]]
        return f"{len(rows)} series; look into one with --series NUMBER\n" + "\n".join(rows)
    from cli._show import table
    from endorender.ct.anatomy.hollows import AIR_HU

    facts = dict(facts)
    lines = ["lumens"]
    for row in facts.pop("lumens", []):
        volume = f"{row['volume_ml']:g} ml up to its wall (" if "volume_ml" in row else ""
        air = f"{row['air_ml']:g} ml of air below {AIR_HU:g} HU{')' if volume else ''}"
        lines.append(f"  {row['region']}) {volume}{air}{_way(row)}")
    for gap in facts.pop("gaps", []):
        a, b = gap["regions"]
        at = ", ".join(f"{x:g}" for x in gap["at_mm"])
        lines.append(
            f"  {a} and {b} lie {gap['gap_mm']:g} mm apart at ({at}) mm: collapsed there? No way leads through"
        )
    left_out = facts.pop("left_out", [])
    if left_out:
        from endorender.ct.anatomy.lumen import named

        lines.append(f"  no lumens: {named([(row['volume_ml'], row['why']) for row in left_out])}")
    counts = facts.pop("histogram")["counts"]
    facts["histogram"] = f"|{_bars(counts)}| -1100 to 1500 HU, by logarithm"
    problem = facts.pop("lumen_problem", None)
    if problem is not None:
        lines = [f"no lumen: {problem['problem']}"]
    scope = facts.pop("scope", None)
    if scope is not None:
        lines.append(f"an endoscope of {scope['diameter_mm']:g} mm{_passes(scope)}")
    fluid = facts.pop("tagged_fluid", None)
    if fluid is not None:
        way_out = "was taken out" if fluid["cleansed"] else "--cleanse PNG takes it out"
        lines.append(
            f"tagged fluid: {', '.join(f'{v:g}' for v in fluid['pools_ml'])} ml of {fluid['hu']} HU; {way_out}"
        )
    facts.pop("lumens_air_ml", None)
    return table(facts) + "\n" + "\n".join(lines)


def _bars(counts: list[int]) -> str:
    from endorender.ct.survey import bars

    return bars(counts)


def _way(row: dict[str, Any]) -> str:
    if "problem" in row:
        return f": {row['problem']}"
    if "path_mm" not in row:
        return ""
    narrowest = f"{row['narrowest_radius_mm']:g} (at {row['narrowest_at_mm']:g} mm)"
    text = f", {row['path_mm']:g} mm long, radius {narrowest} to {row['widest_radius_mm']:g} mm"
    return text + (f"; the endoscope{_passes(row)}" if "scope_passes" in row else "")


def _passes(row: dict[str, Any]) -> str:
    ends = f"its first and last {row['ends_left_out_mm']:g} mm left out"
    if row["scope_passes"]:
        return f" passes, {row['diameter_there_mm']:g} mm free at {row['tightest_at_mm']:g} mm, {ends}"
    return f" is stopped after {row['stopped_at_mm']:g} mm, where {row['diameter_there_mm']:g} mm are free, {ends}"


def _series(row: dict[str, Any]) -> str:
    """`1) 133 slices 512 x 512, 0.703 x 0.703 x 2.5 mm, axial LPS, HU -1024 to 3071, STANDARD; warnings`."""
    head = f"{row['series']}) "
    if "problem" in row:
        posture = f", {row['posture']}" if "posture" in row else ""
        slices = f"{row['slices']} slices {row['size'][0]} x {row['size'][1]}{posture}: " if "slices" in row else ""
        return f"{head}{slices}{row['code']}: {row['problem']}"
    facts = row["facts"]
    parts = [" x ".join(map(str, facts["size"])), " x ".join(f"{s:.3g}" for s in facts["spacing_mm"]) + " mm"]
    parts += [facts["orientation"], f"HU {facts['hu_min']:g} to {facts['hu_max']:g}"]
    parts += [str(row[name]) for name in ("posture", "kernel") if name in row]
    lines = [head + ", ".join(parts), f"   |{_bars(facts['histogram']['counts'])}| -1100 to 1500 HU, by logarithm"]
    return "\n".join(lines + [f"   warning: {w}" for w in facts["warnings"]])
