"""Other people's layouts: `export` a dataset into one, `open_layout` to read one. One file each."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from endorender.dataset.frame import Dataset, open_dataset, refuse_absent
from endorender.dataset.info import SPLITS
from endorender.dataset.layouts import c3vd, depth_anything, hdf5, huggingface, nerfstudio, pairs, simcol3d, webdataset
from endorender.dataset.layouts.layout import ForeignFrame, Layout, foreign_dataset, layouts
from endorender.dataset.spec import parse_spec
from endorender.dataset.writer import disk_errors
from endorender.errors import UserError, unknown
from endorender.outputs import into_place, sweep, temporary

__all__ = ["ForeignFrame", "Layout", "export", "layouts", "open_data", "open_layout"]
__all__ += ["c3vd", "depth_anything", "hdf5", "huggingface", "nerfstudio", "pairs", "simcol3d", "webdataset"]


def export(
    data: str | Path | Dataset,
    layout: Any,
    out: str | Path,
    split: str | None = None,
    variations: Iterable[str] | None = None,
) -> Path:
    """Write a dataset into the new folder `out` in somebody's layout, and return that folder.

    layout: a name of `layouts`, "name:key=value", a mapping or an instance. split, variations: only these.
    Patients keep to their splits; where a layout knows none, only order and names tell. Nothing half-written stays.
    """
    dataset = open_dataset(data) if isinstance(data, (str, Path)) else data
    chosen = _built(layout)
    if not chosen.WRITES:
        able = ", ".join(name for name in layouts if layouts[name].WRITES)  # type: ignore[attr-defined]
        raise UserError(f"{layouts.name_of(type(chosen))} is only read; these are written: {able}", "NO_WRITER")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder: choose another --out", "EXISTS")
    variations = None if variations is None else list(variations)
    refuse_absent(dataset.frames, variations=variations)
    names = SPLITS if split is None else (split,)
    splits = [(name, dataset.select(split=name, variations=variations)) for name in names]
    if not any(frames for _, frames in splits):
        raise UserError(f"no frame to export; the variations are {', '.join(dataset.info['variations'])}", "NO_FRAMES")
    part = temporary(out)
    with disk_errors(out):
        sweep(out)
        part.mkdir(parents=True)
        try:
            chosen.write(splits, part)
            into_place(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return out


def open_layout(path: str | Path, layout: Any, split: str = "test") -> Dataset:
    """Frames in somebody's layout as a dataset for training and evaluation. split: in which all its patients lie."""
    root, chosen = Path(path), _built(layout)
    if not chosen.READS:
        able = ", ".join(name for name in layouts if layouts[name].READS)  # type: ignore[attr-defined]
        raise UserError(f"{layouts.name_of(type(chosen))} is only written; there are readers of {able}", "NO_READER")
    if split not in SPLITS:
        raise UserError(unknown("split", split, SPLITS), "UNKNOWN_SPLIT")
    frames = chosen.read(root) if root.is_dir() else []
    if not frames:
        raise UserError(
            f"no frame of {layouts.name_of(type(chosen))} is found there: give the folder above", "NO_FRAMES"
        )
    return foreign_dataset(root, frames, split)


def open_data(data: str | Path | Dataset, split: str = "test") -> Dataset:
    """An open dataset as it is; a folder of ours; or "LAYOUT@FOLDER", such as "c3vd@/data/C3VD", by `open_layout`."""
    if isinstance(data, Dataset):
        return data
    layout, at, folder = str(data).partition("@")
    if at and layout.partition(":")[0] in layouts:
        return open_layout(folder, layout, split)
    return open_dataset(data)


def _built(layout: Any) -> Layout:
    chosen: Layout = layouts.build(parse_spec(layout))
    for module in chosen.EXTRA:
        try:
            importlib.import_module(module)
        except ImportError:
            raise UserError(f"this layout needs {module}: pip install 'endorender[export]'", "MISSING_EXTRA") from None
    return chosen
