"""What is fitted, as one vector: logarithms of what is positive, logits of what is bounded, mm and radians of the rest.

Names are those of `inverse.parameters`, and of the response `response.exposure` (one, or one for each picture),
`response.white_balance` and `response.gamma`.

Two pairs are seen as products only, so one of each is fixed by construction: where the exposure is fitted, one light
keeps its strength; white balance keeps its green gain, which is the exposure's, and a light's colour is not fitted
beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from endorender.errors import UserError, hint
from endorender.inverse import parameters
from endorender.scene.response import Response
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue

Values = dict[str, np.ndarray]
EXPOSURE, BALANCE, GAMMA = "response.exposure", "response.white_balance", "response.gamma"
STRENGTHS = ("intensity", "irradiance", "radiance", "scale")
POSE_UNIT = np.array([1.0, 1.0, 1.0, 0.05, 0.05, 0.05])  # mm and radians that move a picture about as much (our choice)
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Scale:
    """Between a parameter and its free coordinate u, by the parameter's bounds. unit: of one that has none."""

    low: float
    high: float
    unit: Any = 1.0

    def free(self, x: np.ndarray) -> np.ndarray:
        """Coordinate of a value; infinite at a bound."""
        with np.errstate(divide="ignore"):
            if np.isfinite(self.low) and np.isfinite(self.high):
                return np.asarray(logit((x - self.low) / (self.high - self.low)))
            return np.log(x - self.low) if np.isfinite(self.low) else x / self.unit

    def value(self, u: np.ndarray) -> np.ndarray:
        """Value at a coordinate."""
        if np.isfinite(self.low) and np.isfinite(self.high):
            return np.asarray(self.low + (self.high - self.low) * expit(u))
        return self.low + np.exp(u) if np.isfinite(self.low) else u * self.unit

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative of the value by the coordinate, at a value."""
        if np.isfinite(self.low) and np.isfinite(self.high):
            return (x - self.low) * (self.high - x) / (self.high - self.low)
        return x - self.low if np.isfinite(self.low) else self.unit * np.ones_like(x)


def _scale(scene: Scene, name: str) -> Scale:
    first, last = name.split(".")[0], name.split(".")[-1]
    if last == "pose":
        return Scale(-np.inf, np.inf, POSE_UNIT)
    if last in parameters.PLACES:
        return Scale(-np.inf, np.inf)
    if last == "albedo":
        return Scale(0.0, 1.0)
    model: Any = type(scene.phase) if first == "phase" else Tissue if first == "tissue" else None
    if last == "sigma_t":
        return Scale(0.0, scene.densest())  # beyond it no scene is made, wherever a step may lead
    if model is None:
        return Scale(0.0, np.inf)
    ends = {"gt": -np.inf, "ge": -np.inf, "lt": np.inf, "le": np.inf}
    for rule in model.model_fields[last].metadata:
        ends |= {end: float(getattr(rule, end)) for end in ends if hasattr(rule, end)}
    return Scale(max(ends["gt"], ends["ge"]), min(ends["lt"], ends["le"]))


@dataclass(frozen=True)
class Unknowns:
    """start: values of every name, of `camera` (and of an exposure for each picture) with a leading axis of views.

    free: by name, which entries are fitted; the others are held: those at a bound, where every logarithm is infinite,
    and green of the white balance. views: how many.
    """

    start: Values
    free: dict[str, np.ndarray]
    scales: dict[str, Scale]
    labels: tuple[str, ...]
    views: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scene and the response, in the order of the vector."""
        return tuple(self.start)

    @property
    def of_scene(self) -> tuple[str, ...]:
        """Names that `inverse.parameters` knows."""
        return tuple(name for name in self.start if not name.startswith("response."))

    def pack(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """(P,) coordinates."""
        return np.concatenate([self.scales[n].free(values[n])[self.free[n]] for n in self.start])

    def values(self, u: np.ndarray) -> Values:
        """Of all names, the held entries too."""
        out, at = {}, 0
        for name, start in self.start.items():
            free = self.free[name]
            whole = np.zeros_like(start)
            whole[free] = u[at : (at := at + int(free.sum()))]
            out[name] = np.where(free, self.scales[name].value(whole), start)
        return out

    def chain(self, by_value: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
        """(P,) derivative by the coordinates from that by the values; names that are missing have none."""
        parts = []
        for name in self.start:
            whole = by_value.get(name, np.zeros_like(values[name])) * self.scales[name].slope(values[name])
            parts.append(whole[self.free[name]])
        return np.concatenate(parts)

    def of_view(self, values: Mapping[str, np.ndarray], view: int) -> Values:
        """The scene's values as one view has them."""
        return {n: values[n][view] if n.startswith("camera.") else values[n] for n in self.of_scene}


def unknowns(
    views: Sequence[Scene], names: Sequence[str], response: Response, exposures: Sequence[float] | None = None
) -> Unknowns:
    """From the scenes as they are. exposures: each picture's own, as automatic exposure makes them; None: one for all.

    Raises UserError for a name that the scene does not have, and for two of which only the product is seen.
    """
    scene = views[0]
    start: Values = {}
    free: dict[str, np.ndarray] = {}
    scales: dict[str, Scale] = {}
    for name in names:
        if name.startswith("response."):
            value = _of_response(name, response, exposures)
            scale = Scale(0.0, np.inf)
        else:
            value, scale = parameters.current(scene, name), _scale(scene, name)
            if name.startswith("camera."):
                value = np.stack([parameters.current(view, name) for view in views])
        start[name], scales[name] = value, scale
        free[name] = np.isfinite(scale.free(value))
        if name == BALANCE:
            free[name] = np.array([True, False, True])
    _refuse_products(scene, names)
    labels = [label for name in start for label in _labels(scene, name, free[name])]
    if not labels:
        raise UserError("nothing is left to fit: every value stands at a bound", "INVALID_VALUE")
    return Unknowns(start, free, scales, tuple(labels), len(views))


def _of_response(name: str, response: Response, exposures: Sequence[float] | None) -> np.ndarray:
    if name == EXPOSURE and exposures is not None:
        return np.array(exposures, float)
    known = {EXPOSURE: response.exposure, BALANCE: response.white_balance, GAMMA: response.gamma}
    if name not in known:
        raise UserError(
            f"{name!r} cannot be fitted{hint(name, known)}; of the response these can: {', '.join(known)}",
            "UNKNOWN_NAME",
        )
    if known[name] is None:
        why = "a gamma (this response is sRGB)" if name == GAMMA else "a fixed exposure to start from"
        raise UserError(f"{name} needs {why}", "INVALID_VALUE")
    return np.array(known[name], float)


def _refuse_products(scene: Scene, names: Sequence[str]) -> None:
    lit = {i for i in range(len(scene.lights)) if any(f"lights.{i}.{s}" in names for s in STRENGTHS)}
    tinted = {i for i in range(len(scene.lights)) if f"lights.{i}.colour" in names}
    if EXPOSURE in names and len(lit | tinted) == len(scene.lights):
        raise UserError(
            "only the product of exposure and strength of light is seen: leave out response.exposure, or the strength "
            "and colour of one light",
            "NOT_OBSERVABLE",
        )
    if lit & tinted or (BALANCE in names and len(tinted) == len(scene.lights)):
        raise UserError(
            "only the product of a light's colour with its strength or with the white balance is seen: fit one",
            "NOT_OBSERVABLE",
        )


def _labels(scene: Scene, name: str, free: np.ndarray) -> list[str]:
    """One for each entry that is fitted: `tissue.albedo[150 HU].red`."""
    along = not isinstance(scene.medium, GridMedium) and name.split(".")[0] in ("tissue", "phase")
    out = []
    for index in np.argwhere(free):
        text, rest = name, [int(i) for i in index]
        if (name == EXPOSURE and rest) or name.startswith("camera."):
            text += f"[picture {rest.pop(0) + 1}]"
        elif along and rest:
            text += f"[{scene.tissue.hu[rest.pop(0)]:g} HU]"
        if name == "camera.pose":
            text += "." + ("x", "y", "z", "about x", "about y", "about z")[rest.pop()]
        elif name == BALANCE or (rest and free.shape[-1] == 3 and name.split(".")[-1] not in parameters.PLACES):
            text += f".{CHANNELS[rest.pop()]}"
        out.append(text + "".join(f"[{i}]" for i in rest))
    return out
