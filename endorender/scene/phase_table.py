"""A phase function as measured, or as a Mie code gives it: a table over cos θ."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from endorender.scene.phase import PhaseFunction, phase_functions
from endorender.scene.text import read_text

if TYPE_CHECKING:
    from jaxtyping import Float32


def read_columns(file: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two columns of numbers from a text file: commas, semicolons or blanks between them, `#` before remarks."""
    rows: list[tuple[float, float]] = []
    headings = 0
    for n, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            first, second = map(float, words)
            rows.append((first, second))
        except ValueError:
            headings += 1
            if rows or headings > 1:
                raise ValueError(f"{file.name}, line {n}: must be two numbers, cos θ and a value") from None
    if not rows:
        raise ValueError(f"{file.name} holds no numbers")
    cos_theta, values = zip(*rows)
    return cos_theta, values


@phase_functions.register(
    "tabulated",
    cases=[
        {"cos_theta": [-1, 1], "values": [3, 1]},
        {"cos_theta": [-1, -0.6, -0.2, 0.3, 0.8, 1], "values": [0.3, 0, 0, 1, 0, 9]},
        {"cos_theta": [1, 0.9999, 0.999, 0.99, 0.9, 0, -1], "values": [4000, 900, 120, 12, 1, 0.05, 0.1]},
    ],
)
class Tabulated(PhaseFunction):
    """Measured or Mie data: linear in cos θ between the given values, normalised, the same in every voxel.

    Sampled exactly: a search in the cumulative sums, then the root of a quadratic.
    """

    cos_theta: tuple[float, ...] = Field(description="from -1 to 1, in any order")
    values: tuple[float, ...] = Field(description="density at each, in any unit")
    file: str | None = Field(None, exclude=True, description="instead of both: text file with two columns, read once")

    @model_validator(mode="before")
    @classmethod
    def _embed(cls, given: Any) -> Any:
        """Replace the file by what it holds: records must not depend on it, nor tell a path."""
        if not isinstance(given, Mapping) or given.get("file") is None:
            return given
        if {"cos_theta", "values"} & set(given):
            raise ValueError("give either file, or cos_theta and values")
        cos_theta, values = read_columns(Path(str(given["file"])).expanduser())
        return {**given, "file": None, "cos_theta": cos_theta, "values": values}

    @model_validator(mode="after")
    def _consistent(self) -> "Tabulated":
        if len(self.cos_theta) != len(self.values):
            raise ValueError(f"{len(self.cos_theta)} cos_theta for {len(self.values)} values")
        if len(self.cos_theta) < 2 or abs(min(self.cos_theta) + 1) > 1e-6 or abs(max(self.cos_theta) - 1) > 1e-6:
            raise ValueError("cos_theta must reach from -1 to 1")
        x, _ = self._sorted()
        if (np.diff(x) >= 0).any():
            raise ValueError("cos_theta must differ from each other by 1e-7 at least")
        if min(self.values) < 0 or max(self.values) == 0:
            raise ValueError("values must be >= 0, and not all 0")
        return self

    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """cos θ as single precision tells it, falling from 1, and the values over their largest."""
        x = np.asarray(self.cos_theta)
        order = np.argsort(-x)
        x = x[order].astype(np.float32).astype(float)
        x[0], x[-1] = 1, -1
        return x, np.asarray(self.values)[order] / (max(self.values) or 1)

    def data(self) -> "Float32[np.ndarray, 'N 3']":
        """(N, 3) float32: cos θ falling from 1, density over cos θ, cumulative from the forward end.

        From the forward end because that is where peaks are, and single precision is fine near 0.
        """
        x, f = self._sorted()
        mass = 0.5 * (f[1:] + f[:-1]) * -np.diff(x)
        cumulative = np.append(0, np.cumsum(mass)) / mass.sum()
        return np.stack([x, f / mass.sum(), cumulative], -1).astype(np.float32)

    def mean_cosine(self) -> float:
        """Analytic mean of cos θ."""
        x, f = self._sorted()
        step = -np.diff(x)
        moment = step / 6 * (x[:-1] * (2 * f[:-1] + f[1:]) + x[1:] * (f[:-1] + 2 * f[1:]))
        return float(moment.sum() / (0.5 * (f[1:] + f[:-1]) * step).sum())

    @staticmethod
    @functools.cache
    def device() -> tuple[Any, Any]:
        """(sample, pdf) as Taichi functions."""
        from endorender.engine import ti

        @ti.func
        def sample(u, p, data: ti.template()):
            low, high = 0, data.shape[0] - 1
            while high - low > 1:
                middle = (low + high) // 2
                if data[middle, 2] <= u:
                    low = middle
                else:
                    high = middle
            width = data[low, 0] - data[high, 0]
            rest = (u - data[low, 2]) / width
            # f0 t + (f1 - f0) t² / 2 = rest, by the root that does not cancel.
            f0, f1 = data[low, 1], data[high, 1]
            root = ti.sqrt(ti.max(0.0, f0 * f0 + 2.0 * (f1 - f0) * rest))
            t = ti.min(2.0 * rest / ti.max(f0 + root, 1e-20), 1.0)
            return ti.math.clamp(data[low, 0] - width * t, -1.0, 1.0)

        @ti.func
        def pdf(cos_theta, p, data: ti.template()):
            low, high = 0, data.shape[0] - 1
            while high - low > 1:
                middle = (low + high) // 2
                if data[middle, 0] >= cos_theta:
                    low = middle
                else:
                    high = middle
            t = ti.math.clamp((data[low, 0] - cos_theta) / (data[low, 0] - data[high, 0]), 0.0, 1.0)
            return 0.15915494 * ti.math.mix(data[low, 1], data[high, 1], t)

        return sample, pdf
