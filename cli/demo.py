"""`endorender demo`: from CT to a fine-tuned depth network and its report."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--out", default="demo", type=click.Path(), show_default=True, help="Folder for everything it makes.")
@click.option("--size", default="small", type=click.Choice(["tiny", "small"]), show_default=True, help="How much.")
@click.option("--device", metavar="NAME", help="What renders: auto, cpu, cuda, vulkan or metal (see: doctor).  [cpu]")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Continue what is in the folder.")
def command(out: str, size: str, resume: bool, device: str | None) -> None:
    """Render phantom colons and a real airway, train on plain images, fine-tune on cinematic ones, judge, report.

    Small takes some minutes on two cores, tiny about two. Interrupted, the same command continues.

    Example: endorender demo --size tiny --out demo
    """
    from pathlib import Path

    from cli._demo import SIZES, demo
    from cli.progress import stages

    with stages() as stage:
        made = demo(Path(out), SIZES[size], resume, stage, device or "cpu")
    click.echo("\n".join(f"{name}: {path}" for name, path in made.items()))
