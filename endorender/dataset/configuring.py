"""A configuration out of a file, of flags, and of what a dataset was begun with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from endorender.dataset import cohort, given
from endorender.dataset.config import RenderConfig
from endorender.dataset.info import read_info
from endorender.errors import UserError
from endorender.registry import validated
from endorender.safe_yaml import read_yaml

PATHS = ("ct", "label", "labels", "poses")  # keys that hold patient data


def configure(file: str | Path | None = None, begun: str | Path | None = None, **flags: Any) -> RenderConfig:
    """Configuration from a YAML file and flags; a flag that is neither None nor () overrides the file. In either, a CT
    may be a folder of patients (see `cohort.apart`), unless a series is asked for.

    begun: a dataset; without a file its configuration is taken, if there is one. It does not hold the paths of
    CTs: those have to be given again.
    """
    values = read_yaml(Path(file)) if file else {}
    if not (flags.get("series") or values.get("series")):
        for source in (values, flags):
            if source.get("ct") is not None:
                source["ct"] = each_ct(source["ct"])
    if begun and not file and (Path(begun) / "dataset.json").is_file():
        values = stored(Path(begun), flags.pop("ct", None), **{k: flags.get(k) for k in ("labels", "label", "poses")})
    values.update({k: v for k, v in flags.items() if v is not None and v != ()})
    if values.get("device") == "auto":
        from endorender.render.device.backend import best

        values["device"] = best()  # by name: the bytes depend on it
    return validated(RenderConfig, given.placed(values), "configuration", PATHS)


def each_ct(cts: Any) -> Any:
    """A list, or nothing, of CTs with folders of patients taken apart; what is no CT is left to validation."""
    if isinstance(cts, (str, list, tuple)) and not cts:
        return cts
    if not isinstance(cts, (list, tuple)):
        cts = [cts]
    return [one for ct in cts for one in (cohort.apart(ct) if isinstance(ct, str) else [ct])]


def stored(root: Path, cts: Sequence[str] | None, **files: Sequence[str] | None) -> dict[str, Any]:
    """Keys of the configuration that a dataset was begun with. cts, and files by the name of their flag (labels, label,
    poses): needed where they are files."""
    values: dict[str, Any] = dict(read_info(root)["configuration"])
    patients = values["ct"]
    if cts is None and any(p["source"] in ("file", "memory") for p in patients):
        raise UserError("give the CTs again with --ct, in the same order: a dataset does not hold their paths", "NO_CT")
    if cts is not None and len(cts) != len(patients):
        raise UserError(f"the dataset was begun with {len(patients)} CTs, and {len(cts)} are given", "NO_CT")
    for name, what in (("labels", "masks"), ("label", "masks"), ("poses", "poses")):
        if not files.get(name) and any(name in p for p in patients):
            raise UserError(
                f"give the {what} again with --{name}, in the same order: a dataset does not hold paths",
                "NO_POSES" if name == "poses" else "NO_LABELS",
            )
    names = cts or [p["source"] for p in patients]
    values["ct"] = [
        {"ct": ct, "alias": p["alias"], "region": p["region"], "phase": p.get("phase")}
        for ct, p in zip(names, patients)
    ]
    return values
