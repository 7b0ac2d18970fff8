"""What `endorender render` does and says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from endorender.dataset import RenderConfig


def estimated(config: RenderConfig) -> str:
    """Counts, ranges and estimates as text."""
    from cli._show import table
    from cli.progress import bar
    from endorender.dataset.plan import plan

    with bar("measuring", patience=0.6) as progress:
        found = plan(config, progress)
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


def glimpsed(config: RenderConfig, out: str) -> str:
    """Write the preview beside the dataset's folder; where it is."""
    from cli.progress import bar
    from endorender.dataset.plan import preview

    with bar("rendering", patience=0.6) as progress:
        return f"preview: {preview(config, out.rstrip('/') + '.preview.png', progress)}"


def rendered(
    config: RenderConfig,
    out: str,
    resume: bool,
    only: str | None,
    retry: bool,
    workers: int | None = None,
    cluster: str | None = None,
) -> str:
    """Render; where things are. Frames that failed are an error once all others are there."""
    from cli.progress import bar
    from endorender.dataset import generate
    from endorender.dataset.writer import read_failed

    # A dataset may be cut off anywhere: what it lists is whole.
    with bar("rendering", patience=0.6) as progress:
        root = generate(config, out, resume, only, progress, retry, workers, cluster)
    if read_failed(root):
        raise click.ClickException(f"{root} lacks frames that failed, others are there: --retry-failed tries them")
    return f"dataset: {root}\npictures: {root / 'contact_sheet.png'}, {root / 'index.html'}\ndevice: {config.device}"
