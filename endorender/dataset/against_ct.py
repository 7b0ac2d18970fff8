"""Is a dataset's geometry that of its CTs? The CT is prepared as it was for rendering, and views are seen again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from endorender.dataset.config import RenderConfig
from endorender.dataset.configuring import PATHS, stored
from endorender.dataset.consistency import TOLERANCE, listed
from endorender.dataset.frame import Dataset, Frame
from endorender.dataset.patient import Hashes, Report, outline, scanned
from endorender.errors import UserError
from endorender.registry import validated

OFF = 0.05  # share of a view's pixels that may have no wall or another one; silhouettes differ between devices


def against(
    dataset: Dataset,
    cts: Sequence[str],
    label: Sequence[str] = (),
    series: str | None = None,
    phase: str | None = None,
    most: int | None = None,
    report: Report = lambda done, text: None,
) -> Callable[[str, list[Frame]], dict[str, Any]]:
    """What `check_geometry` calls with a patient's alias and views.

    cts: those that were rendered, in their order; label: the masks of organs under which they were. The rest of the
    configuration is the dataset's. most: views of a patient that are seen again, evenly spread; all by default.
    It returns `checked`, how many were; `off`, how many of them are not the CT's: they lie in its tissue, or more than
    5 % of their pixels see a wall where the CT has none, none where it has one, or one 0.25 mm away; `worst`, the
    largest such share; `depth_mm`, the median over pixels of the difference of distance, largest over views; `views`,
    which are off.
    Raises UserError CT_CHANGED where a CT is not the one that the frames name.
    """
    config = _configuration(dataset.root, cts, label, {"series": series, "phase": phase})

    def one(patient: str, frames: list[Frame]) -> dict[str, Any]:
        from endorender.scene import cameras

        who = next((p for p in config.ct if p.alias == patient), None)
        if who is None:
            raise UserError(f"the configuration of the dataset names no patient {patient}", "DATASET_DAMAGED")
        facts = frames[0].volume
        known = Hashes(str(facts.get("ct_sha256")), None, facts.get("label_sha256"))
        _, ready, _, _ = scanned(config, who, known, report)
        scene = outline(config, who, ready.volume, np.eye(4), ready.lumen.threshold)
        count = len(frames) if most is None else min(most, len(frames))
        chosen = [frames[n * len(frames) // count] for n in range(count)]
        rows = []
        for n, frame in enumerate(chosen):
            report(n / count, f"{patient}: view {frame.view} against the CT")
            here = scene.with_(camera=cameras.build(frame.camera), world_from_camera=np.array(frame.world_from_camera))
            rows.append((frame.view, *_difference(here, frame)))
        bad = [f"view {view}" for view, share, _ in rows if share > OFF]
        return {
            "checked": len(rows),
            "off": len(bad),
            "worst": round(max(share for _, share, _ in rows), 4),
            "depth_mm": round(max(depth for *_, depth in rows), 5),
            "views": listed(bad),
        }

    return one


def _difference(scene: Any, frame: Frame) -> tuple[float, float]:
    """Share of pixels that do not see the CT's wall, and the median difference of distance where both see one, mm."""
    from endorender.render import geometry

    told = frame.geometry()
    try:
        seen = geometry(scene)
    except UserError as error:
        if error.code != "CAMERA_IN_TISSUE":
            raise
        return 1.0, 0.0  # from within tissue nothing is seen, whatever the dataset tells
    both = told["mask"] & seen.mask
    apart = np.abs(told["distance"] - seen.distance)
    wrong = (told["mask"] != seen.mask) | (both & ~(apart <= TOLERANCE))
    asked = told["mask"] | seen.mask
    return float(wrong.sum() / max(1, asked.sum())), float(np.median(apart[both])) if both.any() else 0.0


def _configuration(root: Path, cts: Sequence[str], label: Sequence[str], which: dict[str, Any]) -> RenderConfig:
    """The dataset's, with these CTs. Labels of tissues and given poses have no part in where walls are."""
    values = stored(root, list(cts), label=list(label), labels=["unneeded"], poses=["unneeded"])
    values |= {key: value for key, value in which.items() if value is not None}
    values |= {"label": list(label)} if label else {}
    config: RenderConfig = validated(
        RenderConfig, {k: v for k, v in values.items() if k != "label_tissue"}, "configuration", PATHS
    )
    return config
