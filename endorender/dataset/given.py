"""What is given: a CT by its name or in memory; poses, which are known by their hash, never by their file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.spec import parse_spec
from endorender.errors import UserError
from endorender.registry import Model

if TYPE_CHECKING:
    from jaxtyping import Float64

Row = tuple[float, float, float, float]


def in_memory(value: Any) -> bool:
    """Whether this is an `endorender.ct.Volume`; whoever has one has loaded its module."""
    module = sys.modules.get("endorender.ct.volume")
    return module is not None and isinstance(value, module.Volume)


def ct(value: Any) -> Any:
    """What may stand for a CT; ValueError for anything else."""
    if isinstance(value, str) and not value:
        raise ValueError("must have at least 1 character")
    if isinstance(value, str) or in_memory(value):
        return value
    raise ValueError("must be a path, 'sample', 'phantom:SEED', or an endorender.ct.Volume")


class Given(Model):
    """matrices: (N, 4, 4) world_from_camera, OpenCV axes, RAS mm: a patient's views, in this order."""

    matrices: tuple[tuple[Row, Row, Row, Row], ...]

    @classmethod
    def read(cls, spec: Any) -> Given:
        """From "FILE", or "FORMAT:key=value@FILE" with a name of `pose_files`. See `posefile.read_poses`."""
        from endorender.scene.posefile import pose_files, read_poses

        if isinstance(spec, cls):
            return spec
        form, file = parted(str(spec))
        found = read_poses(file, pose_files.build(parse_spec(form)) if form else None)
        return cls(matrices=tuple(tuple(map(tuple, pose)) for pose in found.tolist()))

    def __len__(self) -> int:
        return len(self.matrices)

    @property
    def array(self) -> Float64[np.ndarray, "N 4 4"]:
        """(N, 4, 4)."""
        return np.array(self.matrices)

    def public(self) -> dict[str, Any]:
        """What a dataset says of them: how many, and sha256 of their float64."""
        return {"views": len(self), "sha256": hashlib.sha256(self.array.astype("<f8").tobytes()).hexdigest()}


def parted(spec: str) -> tuple[str | None, str]:
    """`"tum:unit=mm@FILE"` -> ("tum:unit=mm", "FILE"); without a format (None, "FILE")."""
    from endorender.scene.posefile import pose_files

    head, at, file = spec.partition("@")
    return (head, file) if at and head.partition(":")[0].strip() in pose_files else (None, spec)


def placed(values: dict[str, Any]) -> dict[str, Any]:
    """Keys of a configuration in which files of poses are read: `poses`, one for each CT in their order, and those of
    single CTs. Each goes to its CT; `views` becomes their number, and nothing is flown where all have poses.

    Raises UserError POSES, before anything is validated: no complaint may repeat a file's name.
    """
    files, cts = values.get("poses"), values.get("ct")
    cts = cts if cts is None or isinstance(cts, (list, tuple)) else [cts]
    if not isinstance(cts, (list, tuple)) or not (files or any(isinstance(c, Mapping) and c.get("poses") for c in cts)):
        return {key: value for key, value in values.items() if key != "poses"}
    files = [files] if isinstance(files, str) else files
    if files and not (isinstance(files, (list, tuple)) and all(isinstance(file, str) for file in files)):
        raise UserError("poses must be a file, or a list with one for each CT", "POSES")
    entries = [dict(c) if isinstance(c, Mapping) else {"ct": c} for c in cts]
    if files:
        if len(files) != len(entries):
            raise UserError(
                f"one file of poses for each CT, in their order: {len(files)} files for {len(entries)} CTs", "POSES"
            )
        entries = [entry | {"poses": file} for entry, file in zip(entries, files)]
    for number, entry in enumerate(entries, 1):
        if entry.get("poses"):
            try:
                entry["poses"] = Given.read(entry["poses"])
            except UserError as error:
                whose = f", CT {number}" if len(entries) > 1 else ""
                raise UserError(f"{error}{whose}", error.code) from None
    values = {**values, "ct": entries}
    values.pop("poses", None)
    counts = [len(entry["poses"]) for entry in entries if entry.get("poses")]
    if len(counts) == len(entries):
        if values.get("views") not in (None, max(counts)):
            raise UserError(f"there are {max(counts)} poses, and views is {values['views']}: leave views out", "POSES")
        if values.get("trajectory"):
            raise UserError("poses are given, so nothing is flown: leave trajectory out", "POSES")
        values |= {"views": max(counts), "trajectory": {}}
    return values
