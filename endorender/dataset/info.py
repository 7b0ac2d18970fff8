"""dataset.json: what a dataset says of itself as a whole, read with the patterns that it was written with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from endorender.dataset.spec import pixels
from endorender.errors import UserError, plain
from endorender.registry import one_line

SCHEMA = 1
# Names become folders, and stand in pages: a dataset that comes from elsewhere is held to them as well.
ALIAS = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # of a patient
VARIATION = "^[a-z0-9][a-z0-9_]{0,40}$"
SPLITS = ("train", "val", "test")
MOST_VIEWS = 999_999  # of a patient: what an id has digits for

Views = Annotated[int, Field(ge=1, le=MOST_VIEWS)]


class _Part(BaseModel):
    """Of dataset.json what is read of it; there is more."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Poses(_Part):
    views: Views


class _Patient(_Part):
    alias: str = Field(pattern=ALIAS)
    source: str
    poses: _Poses | None = None


class _Configuration(_Part):
    size: str
    ct: list[_Patient] = Field(min_length=1)

    @field_validator("size")
    @classmethod
    def _size(cls, size: str) -> str:
        width, height = pixels(size)
        if size != f"{width}x{height}":
            raise ValueError("must be WIDTHxHEIGHT")
        return size


class _Splits(_Part):
    train: list[str]
    val: list[str]
    test: list[str]


class _Engine(_Part):
    name: str
    version: str


class _Generator(_Part):
    engine: _Engine | None = None  # datasets that were begun before it was written down have none


class _Info(_Part):
    patients: list[Any]
    variations: list[Any]
    splits: _Splits
    views: Views
    frames: int = Field(ge=1)
    configuration: _Configuration
    generator: _Generator = _Generator()
    fingerprint: str = ""

    @field_validator("patients", "variations")
    @classmethod
    def _names(cls, names: list[Any], field: Any) -> list[Any]:
        pattern = ALIAS if field.field_name == "patients" else VARIATION
        if not names or not all(isinstance(n, str) and re.fullmatch(pattern, n) for n in names):
            raise ValueError("must be a list of names of letters and digits")
        if len(set(names)) < len(names):
            raise ValueError("must be a list without repetitions")
        return names


def read_info(root: Path) -> dict[str, Any]:
    """dataset.json as a dictionary, in which all that is read of it is there and of its kind.

    Errors (UserError): NOT_A_DATASET, SCHEMA, DATASET_DAMAGED.
    """
    if not there(root / "dataset.json"):
        raise UserError("the folder is no endorender dataset: it has no dataset.json", "NOT_A_DATASET")
    try:
        info = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged("dataset.json", error) from None
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        raise UserError(f"dataset.json is not of schema {SCHEMA}: read it with the endorender that wrote it", "SCHEMA")
    try:
        _Info.model_validate(info)
    except ValidationError as error:
        raise damaged("dataset.json", one_line(error)) from None
    known = set(info["patients"])
    if not all(alias in known for name in SPLITS for alias in info["splits"][name]):
        raise damaged("dataset.json", "a split holds a patient that the dataset has not")
    if info["frames"] != sum(planned(info).values()) * len(info["variations"]):
        raise damaged("dataset.json", "frames is not the number of views times that of variations")
    return info


def planned(info: Mapping[str, Any]) -> dict[str, int]:
    """How many views each patient of a dataset is to have. info: dataset.json."""
    own = {p["alias"]: p["poses"]["views"] for p in info["configuration"]["ct"] if p.get("poses")}
    return {patient: own.get(patient, info["views"]) for patient in info["patients"]}


def there(path: Path) -> bool:
    """Whether a file is there. Raises UserError DATASET_DAMAGED where something else is: a pipe would never end."""
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise damaged(path.name, "it is no file")
    return False


def damaged(what: str, error: object) -> UserError:
    """A file of a dataset that is not as it was written."""
    # An error of the system, or of Pillow, repeats the whole path.
    reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else " ".join(str(error).split())
    told = f"{what} cannot be read ({plain(reason[:200])}); render with --resume to mend it"
    return UserError(told, "DATASET_DAMAGED")
