"""`endorender doctor`: what is installed, and on what it will run."""

from __future__ import annotations

import os
import platform
import re
import shutil
from importlib import metadata
from typing import Any

import click

from cli import _completing as completing


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--device",
    metavar="NAME",
    help="Render on this device and on the CPU, and compare.",
    shell_complete=completing.words("cpu", "cuda", "vulkan", "metal"),
)
def command(as_json: bool, device: str | None) -> None:
    """Show versions, extras, and the devices that work: each has rendered, previewed and fitted.

    Example: endorender doctor --device vulkan
    """
    from cli._show import table

    if device is None:
        click.echo(table(checkup(), as_json))
        return
    found = devices_agree(device)
    click.echo(table(found, as_json))
    if not found["agrees"]:
        raise click.ClickException(f"device {device!r} does not compute what the CPU computes: use another")


def checkup() -> dict[str, str]:
    """What a bug report should hold: versions, processors, graphics cards, extras with what they lack."""
    facts = {
        "endorender": metadata.version("endorender"),
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "processors": f"{_processors()} usable",
        "engine": os.environ.get("ENDORENDER_ENGINE") or "taichi",
        "gpu": "NVIDIA driver found" if shutil.which("nvidia-smi") else "no NVIDIA driver found",
    }
    facts |= {f"device {name}": verdict for name, verdict in _devices().items()}
    needed, extras = _requirements()
    facts |= {name: _version(name) for name in needed}
    for extra, names in extras.items():
        missing = [n for n in names if _version(n) == "missing"]
        told = ", ".join(f"{n} {_version(n)}" for n in names if n not in missing)
        way_out = f"missing {', '.join(missing)}: pip install 'endorender[{extra}]'" if missing else ""
        facts[f"extra {extra}"] = "; ".join(filter(None, (told, way_out)))
    return facts


def devices_agree(device: str) -> dict[str, Any]:
    """What the comparison of a device with the CPU found; see `endorender.trial.compare`."""
    from endorender.trial import compare

    return compare(device)


def _devices() -> dict[str, str]:
    """Whether each device works."""
    from endorender.trial import probe

    return probe()


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the requirements, and of those of each extra."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in metadata.requires("endorender") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", line)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        (extras.setdefault(extra[1], []) if extra else needed).append(name)
    return needed, extras


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
