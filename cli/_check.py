"""What `endorender check-geometry` does and says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

VERDICTS = {
    "fits": "depth, poses and cameras fit together",
    "does not fit": "DEPTH, POSES AND CAMERAS DO NOT FIT TOGETHER",
    "undecided": "TOO LITTLE COULD BE CHECKED: give the CT with --ct, or render more views of a patient",
}


def compared(
    root: str,
    cts: Sequence[str],
    label: Sequence[str],
    series: str | None,
    phase: str | None,
    views: int | None,
    share: float,
) -> dict[str, Any]:
    """The check of a dataset, with its CTs where they are given."""
    from cli.progress import bar
    from endorender.dataset import open_dataset
    from endorender.dataset.configuring import each_ct
    from endorender.dataset.consistency import check_geometry

    dataset = open_dataset(root)
    if not cts:
        return check_geometry(dataset, share=share)
    from endorender.dataset.against_ct import against

    with bar("checking") as progress:
        done = against(
            dataset, cts if series else each_ct(list(cts)), label, series, phase, views,
            lambda part, text: progress(part, 1, text),
        )  # fmt: skip
        return check_geometry(dataset, share=share, against=done)


def told(found: dict[str, Any]) -> str:
    """For people."""
    from cli._show import table

    parts = [f"{name}\n{table(figures)}" for name, figures in found["patients"].items()]
    counts = (
        f"{found['checked']} of {found['pairs']} pairs of views were checked, {found['unchecked']} see too little of "
    )
    counts += "each other"
    if "checked_against_ct" in found:
        counts += f"; {found['checked_against_ct']} of {found['views']} views were compared with the CT"
    return "\n".join([*parts, f"{counts} ({found['share_needed']:.0%} are needed)", VERDICTS[found["verdict"]]])
