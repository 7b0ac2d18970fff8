"""What to render: validated once, frozen, fingerprinted. Its keys are the flags of `endorender render`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from endorender.dataset import developing, patients, viewpoint
from endorender.dataset.distributions import probes
from endorender.dataset.fingerprint import UNSAID
from endorender.dataset.patients import Patient, Phase, Regions
from endorender.dataset.spec import as_mapping, pairs, parse_scope, parse_spec, pixels
from endorender.dataset.variation import FIRST, PRESETS, SETTINGS, Variation, drawn_by, refuse_impossible
from endorender.errors import unknown
from endorender.registry import Model


class RenderConfig(Model):
    """A dataset's configuration.

    ct: one or more CTs, each a string (`phantom:1..9` is nine phantoms), an `endorender.ct.Volume`, or {ct, alias,
    series, phase, region, poses}; aliases default to p001, p002, ...
    `configure` takes a folder with one folder or file per patient apart, and reads poses from files: those of single
    CTs, or its key `poses` with a file for each (`given.placed`).
    preset: which variations every view is rendered in, and what stands for keys that are not given (`endorender list
    preset`); `variations` of one's own take its place.  views: per patient.
    size: "WIDTHxHEIGHT" in pixels.  spp: samples per pixel.
    noise: standard error of a pixel's display value (1: white) at which it takes no more samples, under every look that
    shares its paths; `spp` is then the most. None: each takes `spp`.
    camera, light: a registered name, "name:key=value,key=value", or a mapping with the key `type`.
    surface: how wall and volume share the light (interface, hybrid, volume).
    boundary: what the wall of `interface` does to light that passes (straight, refracting).
    coat: what the wall of `interface`, or a surface of `hybrid`, is to light, as for camera.
    depth: what is stored of surface, median and expected depth; surface always is. The others depend on the tissue
    and lie in each variation's own file.
    response: parameters of the camera response that replace every look's, as a mapping or "key=value,key=value", or a
    name of `list response`, alone or with parameters of one's own ("scopes:target=140").
    device: what the kernels run on; the same seed gives the same bytes on one device.
    mucosa: the layer of vessels, mottling and film on the wall of `interface`, as for camera; `none`: without. Each
    patient has vessels of their own.
    denoise: filter the radiance before the camera response, guided by the wall's albedo and normal.
    cleanse: turn tagged fluid into air (`endorender.ct.cleanse`).
    series, phase, region: which series of a folder, which of several scans of one place in it (a number, or `all`) and
    which lumen, for patients that name none themselves. Several regions (`1,2`, the segments of a collapsed organ) are
    flown one after the other.
    label: a mask of the organ for each CT, in their order, NIfTI or DICOM SEG on the CT's own grid: only what lies
    under it is lumen. `MASK:20,21` takes these labels of it, else all count.
    variations: conditions of one's own, instead of a preset's.
    trajectory: how the camera flies (`endorender.dataset.viewpoint.Trajectory`). In it and in `camera`, values may be
    distributions, drawn for every view, and so may the whole camera: `{choice: [scaramuzza, {type: pinhole, fov:
    90}]}`. constraints: conditions on camera and trajectory, as `camera.fov > 80`.
    scope: the instrument that has to have room: a registered name, its outside diameter in mm, or as for camera;
    `none`: a point; `auto`: for each patient the widest registered one that fits along most of the way.
    labels: a mask of tissues for each CT, as `label`: whole numbers on the CT's own grid.
    label_tissue: {label: tissue}, each a registered name, "name:key=value,key=value" or a mapping: the optics of what
    carries the label, under every look. Of masks a dataset keeps the hash, not the path.
    splits: patients by alias; by default, in the order given, the last fifth is test, the fifth before
    it val (each at least one from three patients on; of two, the second is test; one alone is train).
    """

    ct: tuple[Patient, ...] = Field(min_length=1)
    preset: str = FIRST
    views: int = Field(8, ge=1, le=100_000)
    size: str = "320x240"
    spp: int = Field(64, ge=1, le=1_000_000)
    noise: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**63)
    camera: dict[str, Any] = Field({"type": "pinhole"}, validate_default=True)
    light: dict[str, Any] = Field({"type": "endoscope"}, validate_default=True)
    surface: Literal["interface", "hybrid", "volume"] = "interface"
    boundary: Literal["straight", "refracting"] = "straight"
    coat: dict[str, Any] = Field(UNSAID["coat"], validate_default=True)
    depth: tuple[Literal["surface", "median", "expected"], ...] = Field(("surface",), validate_default=True)
    response: dict[str, Any] = Field({})
    mucosa: dict[str, Any] | None = Field("auto", validate_default=True)
    denoise: bool = False
    device: Literal["cpu", "cuda", "vulkan", "metal"] = "cpu"
    resample: bool = False
    assume_hu: bool = False
    cleanse: bool = False
    series: str | None = None
    phase: Phase = None
    region: Regions = None
    trajectory: dict[str, Any] = Field({}, validate_default=True)
    scope: dict[str, Any] | Literal["auto"] | None = "auto"
    constraints: tuple[str, ...] = Field((), validate_default=True)
    variations: tuple[Variation, ...] = Field((), validate_default=True)
    label: tuple[str, ...] = Field(())
    labels: tuple[str, ...] = Field(())
    label_tissue: dict[int, dict[str, Any]] = Field({}, validate_default=True)
    splits: dict[Literal["train", "val", "test"], tuple[str, ...]] = Field({}, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _settings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if values.get("variations"):
            return {"preset": "paper4", **values}  # names nothing here: datasets that were begun so go on
        preset = values.get("preset", FIRST)
        said = dict(SETTINGS.get(preset, {})) if isinstance(preset, str) else {}
        if values.get("ct"):
            said.pop("splits", None)  # of the preset's own patients
        return {**said, **values}

    @field_validator("ct", mode="before")
    @classmethod
    def _patients(cls, value: Any) -> Any:
        return patients.listed(value)

    @field_validator("ct")
    @classmethod
    def _aliases(cls, found: tuple[Patient, ...]) -> tuple[Patient, ...]:
        patients.refuse_twice(found)
        return found

    @field_validator("preset")
    @classmethod
    def _preset(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(unknown("preset", name, sorted(PRESETS)))
        return name

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> str:
        width, height = pixels(value)
        return f"{width}x{height}"

    @field_validator("camera", mode="before")
    @classmethod
    def _camera(cls, value: Any, info: Any) -> Any:
        size, spec = pixels(info.data.get("size", "320x240")), as_mapping(parse_spec(value))
        if viewpoint.varies(spec):
            viewpoint.refuse_impossible(spec, size, {}, ())
        else:
            spec = viewpoint.built(spec, size)
        return {k: v for k, v in spec.items() if k not in ("width", "height")}

    @field_validator("light", mode="before")
    @classmethod
    def _light(cls, value: Any) -> Any:
        from endorender.scene.light import lights

        return lights.dump(lights.build(parse_spec(value)))

    @field_validator("depth", mode="before")
    @classmethod
    def _depth(cls, value: Any) -> Any:
        names = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)):
            raise ValueError("must be names out of surface, median, expected")
        known = ("surface", "median", "expected")
        unknown = [n for n in names if n not in known]
        return unknown or tuple(n for n in known if n == "surface" or n in names)

    @field_validator("response", mode="before")
    @classmethod
    def _response(cls, value: Any) -> Any:
        values = value
        if isinstance(value, str):
            name = value.partition(":")[0].strip()
            if "=" not in name and name not in developing.RESPONSES:
                raise ValueError(f"{unknown('response', name, developing.RESPONSES)}; or give key=value,key=value")
            values = pairs(value, "response") if "=" in name else parse_spec(value)
        if isinstance(values, Mapping):
            if "type" in values:  # a picture's mask is its camera's
                values = {key: given for key, given in developing.named(values).items() if key != "mask"}
            refuse_impossible(Variation(name="response", response=dict(values)), {"type": "endoscope"})
        return values

    @field_validator("boundary")
    @classmethod
    def _boundary(cls, value: str, info: Any) -> str:
        if value == "refracting" and info.data.get("surface") != "interface":
            raise ValueError("light refracts at a wall: it needs surface interface")
        return value

    @field_validator("coat", mode="before")
    @classmethod
    def _coat(cls, value: Any, info: Any) -> Any:
        from endorender.scene.surface import coats

        coat = coats.build(parse_spec(value))
        spec, surface, boundary = coats.dump(coat), info.data.get("surface"), info.data.get("boundary")
        if spec != UNSAID["coat"] and surface == "volume":
            raise ValueError("a coat lies on a surface: it needs surface interface or hybrid")
        if surface and boundary and (reason := coat.clash(surface, boundary)):
            raise ValueError(reason)
        return spec

    @field_validator("mucosa", mode="before")
    @classmethod
    def _mucosa(cls, value: Any, info: Any) -> Any:
        from endorender.scene.mucosa import mucosas

        if value == "auto":
            value = "procedural" if info.data.get("surface") == "interface" else None
        if value in (None, "none"):
            return None
        if info.data.get("surface") != "interface":
            raise ValueError("the layer lies on a wall: it needs surface interface")
        return mucosas.dump(mucosas.build(parse_spec(value)))

    @field_validator("scope", mode="before")
    @classmethod
    def _scope(cls, value: Any) -> Any:
        from endorender.scene.scope import scopes

        if value in (None, "none", "auto"):
            return None if value == "none" else value
        return scopes.dump(parse_scope(value))

    @field_validator("variations")
    @classmethod
    def _variations(cls, variations: tuple[Variation, ...], info: Any) -> tuple[Variation, ...]:
        names = [v.name for v in variations]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"{', '.join(twice)} is the name of two variations")
        layer = info.data.get("mucosa")
        for v in variations or PRESETS[info.data.get("preset", FIRST)]:
            refuse_impossible(v, info.data.get("light", {"type": "endoscope"}), info.data.get("response", {}), layer)
            if v.mucosa and layer is None and v in variations:
                raise ValueError(f"{v.name} changes the mucosa layer, and there is none: it needs surface interface")
        return variations

    @field_validator("constraints")
    @classmethod
    def _constraints(cls, constraints: tuple[str, ...], info: Any) -> tuple[str, ...]:
        if {"camera", "size", "trajectory"} <= set(info.data):
            size = pixels(info.data["size"])
            viewpoint.refuse_impossible(info.data["camera"], size, info.data["trajectory"], constraints)
        return constraints

    @field_validator("label", "labels", mode="before")
    @classmethod
    def _masks(cls, value: Any, info: Any) -> Any:
        masks = [value] if isinstance(value, str) else value
        wanted = len(info.data.get("ct", ()))
        if isinstance(masks, (list, tuple)) and masks and len(masks) != wanted:
            raise ValueError(f"one mask for each CT, in their order: {len(masks)} masks for {wanted} CTs")
        return masks

    @field_validator("label_tissue", mode="before")
    @classmethod
    def _label_tissue(cls, value: Any, info: Any) -> Any:
        from endorender.scene.tissue import tissues

        if isinstance(value, (list, tuple)):
            value = dict(part.partition("=")[::2] for part in value)
        if not isinstance(value, Mapping) or not all(re.fullmatch(r"\d{1,3}", str(label).strip()) for label in value):
            raise ValueError("must be LABEL=TISSUE, or a mapping from labels to tissues")
        built = {int(label): tissues.build(parse_spec(spec)) for label, spec in value.items()}
        if bad := [label for label in built if not 1 <= label <= 255]:
            raise ValueError(f"a label is from 1 to 255, got {bad[0]}; 0 is every look's own tissue")
        if bool(built) != bool(info.data.get("labels")):
            raise ValueError("labels and label_tissue need each other: give a mask, and a tissue for each label")
        data = info.data
        for v in (data.get("variations") or PRESETS[data.get("preset", FIRST)]) if built else ():
            for source in probes([v.look, v.tissue]):
                drawn = drawn_by(v, data.get("light", {"type": "endoscope"}), source)
                for label, tissue in built.items():
                    if "tissue" in drawn and (reason := tissue.clash(tissues.build(drawn["tissue"]))):
                        raise ValueError(f"label {label}, under {v.name}: {reason}")
        return {label: tissues.dump(tissue) for label, tissue in built.items()}

    @field_validator("splits")
    @classmethod
    def _splits(cls, splits: Any, info: Any) -> Any:
        return patients.split_up(splits, [p.alias for p in info.data.get("ct", ())])

    @field_serializer("ct")
    def _private(self, found: tuple[Patient, ...]) -> list[dict[str, Any]]:
        return patients.public(found, self.label, bool(self.labels))

    @property
    def width(self) -> int:
        return int(self.size.split("x")[0])

    @property
    def height(self) -> int:
        return int(self.size.split("x")[1])

    def views_of(self, patient: str) -> int:
        """How many views a patient has: `views`, or as many as there are poses."""
        poses = next((p.poses for p in self.ct if p.alias == patient), None)
        return len(poses) if poses else self.views

    @property
    def columns(self) -> tuple[Variation, ...]:
        """The variations of every view."""
        return self.variations or PRESETS[self.preset]

    def draw_view(self, patient: str, view: int) -> dict[str, dict[str, Any]]:
        """{camera, trajectory} of a view, drawn; both as mappings. Depends on seed, patient and view alone."""
        size, names = (self.width, self.height), (self.seed, patient)
        return viewpoint.draw_view(self.camera, size, self.trajectory, self.constraints, names, view)

    def build_camera(self) -> Any:
        """The camera model at this size; where it varies, the first view's."""
        from endorender.scene.camera import cameras

        return cameras.build(self.draw_view(self.ct[0].alias, 0)["camera"])

    @property
    def flies_freely(self) -> bool:
        """Whether camera or trajectory differ from view to view."""
        return viewpoint.varies([self.camera, self.trajectory])

    def first(self, number: int) -> RenderConfig:
        """The same for its first patients only, so many of them."""
        kept = {name: getattr(self, name)[:number] for name in ("ct", "label", "labels")}
        there = {p.alias for p in kept["ct"]}
        splits = {name: tuple(alias for alias in who if alias in there) for name, who in self.splits.items()}
        return self.model_copy(update=kept | {"splits": splits})

    def public(self) -> dict[str, Any]:
        """The effective configuration as it is stored: JSON types, without paths and series, nor what is UNSAID."""
        unsaid = {key for key, value in UNSAID.items() if getattr(self, key) == value}
        return self.model_dump(mode="json", exclude={"series", "label", "labels", *unsaid})
