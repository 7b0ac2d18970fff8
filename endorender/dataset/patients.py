"""Whose pictures a dataset has: CTs, their aliases, and which split each patient is in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from endorender.dataset import cohort, given
from endorender.dataset.info import ALIAS, SPLITS
from endorender.dataset.spec import regions
from endorender.errors import unknown
from endorender.registry import Model

Regions = Annotated[int | tuple[int, ...] | None, BeforeValidator(regions)]
Phase = Annotated[int | Literal["all"] | None, Field(union_mode="left_to_right")]


class Patient(Model):
    """One CT and the alias under which its patient is known.

    ct: "sample", "phantom:SEED" or the path of a DICOM folder, of a DICOM, NIfTI, MetaImage or NRRD file,
    or of a zip; or an `endorender.ct.Volume`.
    poses: from which the patient is seen, instead of those of a flight; `configure` reads their file.
    """

    ct: Annotated[Any, BeforeValidator(given.ct)]
    alias: str = Field(pattern=ALIAS)
    series: str | None = None
    phase: Phase = None
    region: Regions = None
    poses: given.Given | None = None

    @property
    def source(self) -> str:
        """What may be said of the CT in outputs: paths are patient data and stay out."""
        if given.in_memory(self.ct):
            return "memory"
        return self.ct if self.ct == "sample" or re.fullmatch(r"phantom:\d+", self.ct) else "file"


def listed(value: Any) -> list[Any]:
    """What a configuration's `ct` may be, as a list of mappings and Patients; aliases default to p001, p002, ..."""
    if isinstance(value, (str, Mapping)) or given.in_memory(value):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a path, 'sample', 'phantom:SEED', a Volume, or a list of these")
    if not all(isinstance(v, (str, Mapping, Patient)) or given.in_memory(v) for v in value):
        raise ValueError("each is a path, 'sample', 'phantom:SEED', a Volume, or a mapping with the key ct")
    value = [one for v in value for one in (cohort.ranged(v) if isinstance(v, str) else [v])]
    return [
        {"alias": f"p{n:03d}", **({"ct": v} if isinstance(v, str) or given.in_memory(v) else v)}
        if not isinstance(v, Patient)
        else v
        for n, v in enumerate(value, 1)
    ]


def refuse_twice(patients: Sequence[Patient]) -> None:
    """Folders carry the aliases, and some file systems do not tell upper from lower case."""
    seen = [p.alias.lower() for p in patients]
    twice = sorted({a for a in seen if seen.count(a) > 1})
    if twice or "splits" in seen:
        raise ValueError(f"two patients may not share an alias, and none is called splits: {twice or 'splits'}")


def split_up(splits: Mapping[str, Sequence[str]], known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every split's aliases, as given, or by rule where nothing is. known: all aliases."""
    if not splits:
        return by_rule(known)
    named = [alias for who in splits.values() for alias in who]
    if strange := sorted(set(named) - set(known)):
        raise ValueError(unknown("patient", strange[0], known))
    if twice := sorted({a for a in named if named.count(a) > 1}):
        raise ValueError(f"{', '.join(twice)} may stand in one split only")
    return {name: tuple(splits.get(name, ())) for name in SPLITS}


def by_rule(aliases: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Train, val and test patients where the configuration names none; see RenderConfig."""
    n = len(aliases)
    test = n // 5 if n >= 5 else int(n >= 2)
    val = n // 5 if n >= 5 else int(n >= 3)
    return {
        "train": tuple(aliases[: n - val - test]),
        "val": tuple(aliases[n - val - test : n - test]),
        "test": tuple(aliases[n - test :]),
    }


def public(patients: Sequence[Patient], label: Sequence[str], labelled: bool) -> list[dict[str, Any]]:
    """What may be said of them. A series is named by its UID, which is patient data like the path. label: the masks of
    organs; labelled: whether there are masks of tissues."""
    from endorender.ct.mask import chosen

    masked = {"labels": "file"} if labelled else {}
    organs: list[dict[str, Any]] = [{"label": labels or "all"} for _, labels in map(chosen, label)]
    return [
        {"alias": p.alias, "source": p.source, "region": p.region, **masked, **organ}
        | ({"poses": p.poses.public()} if p.poses else {})
        | ({"phase": p.phase} if p.phase else {})
        for p, organ in zip(patients, organs or [{}] * len(patients))
    ]
