"""Who a phantom is: the figures of one colon, drawn once and then only read. Ranges and sources: docs/anatomy.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Kind = Literal["sessile", "flat", "stalked"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WIDE, NARROW = 23.0, 7.5  # mm: between folds the local radius stays within


@dataclass(frozen=True)
class Flexure:
    """A bend of the way; angles in radians."""

    place: float  # along the way, 0..1
    turn: float
    plane: float  # about the way
    tightness: float  # radius of the curve at its tightest, in radii of the lumen


@dataclass(frozen=True)
class Polyp:
    """A growth on the wall; lengths in mm."""

    kind: Kind
    place: float  # along the way, 0..1
    angle: float  # around it, radians
    width: float
    height: float  # of a dome, or of a head on its stalk
    stalk: float  # 0 where there is none


@dataclass(frozen=True)
class Person:
    """What makes a colon someone's; lengths in mm, angles in radians."""

    radius: float  # mean distance from centreline to wall between folds
    calibre: float  # how far it varies along the way, standard deviation of its logarithm
    length: float  # of the centreline
    flexures: tuple[Flexure, ...]
    wander: float  # curvature between flexures, per mm
    fold_spacing: float
    fold_height: float  # mean, in the middle between two taeniae, part of the radius
    fold_width: float  # falls to 1/e of its height this far from the crest
    rings: float  # share of folds that go all around
    alignment: float  # mm by which the folds of the three rows miss one another (standard deviation)
    smooth: float  # share of the way, from its end, where haustra are lost
    kept: float  # part of the folds' height that is left there
    triangle: float  # how far the section departs from a circle, part of the radius
    taenia: float  # height of the bands
    twist: float  # of the bands, per mm
    rough: float  # mucosa, standard deviation
    wall: float  # thickness
    blur: float  # of the scanner, standard deviation
    noise: float  # HU, standard deviation
    polyps: tuple[Polyp, ...]


def draw(rng: np.random.Generator) -> Person:
    """A person at random. Pure: the ranges are those of docs/anatomy.md."""
    radius = float(rng.uniform(8.0, 20.0))
    spacing = _log(rng, 9.0, 32.0)
    return Person(
        radius=radius,
        calibre=float(rng.uniform(0.04, 0.18)),
        length=float(rng.uniform(260, 340)),
        flexures=_flexures(rng),
        wander=_log(rng, 0.0006, 0.0030),
        fold_spacing=spacing,
        fold_height=float(rng.uniform(0.15, 0.5)),
        fold_width=min(_log(rng, 1.4, 5.0), 0.25 * spacing),
        rings=float(rng.choice([0.0, rng.uniform()])),
        alignment=float(rng.uniform(0.5, 4.5)),
        smooth=float(rng.choice([0.0, rng.uniform(0.25, 0.75)])),
        kept=float(rng.uniform(0.05, 0.4)),
        triangle=float(rng.uniform(0.0, 0.1)),
        taenia=radius * float(rng.uniform(0.03, 0.09)),
        twist=float(rng.uniform(-0.008, 0.008)),
        rough=float(rng.uniform(0.25, 0.55)),
        wall=float(rng.uniform(1.5, 3.0)),
        blur=float(rng.uniform(0.5, 0.8)),
        noise=_log(rng, 6.0, 30.0),
        polyps=tuple(_polyp(rng, radius) for _ in range(rng.integers(2, 9))),
    )


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.uniform())


def _flexures(rng: np.random.Generator) -> tuple[Flexure, ...]:
    """One to three, straight stretches between; neighbours turn in planes of their own."""
    count = int(rng.integers(1, 4))
    plane, found = rng.uniform(0, 2 * np.pi), []
    for n in range(count):
        place = (n + rng.uniform(0.3, 0.7)) / count
        found.append(Flexure(0.1 + 0.8 * place, np.radians(rng.uniform(10, 125)), plane, _log(rng, 1.25, 3.0)))
        plane += rng.choice([-1, 1]) * rng.uniform(np.radians(40), np.radians(150))
    return tuple(found)


def _polyp(rng: np.random.Generator, radius: float) -> Polyp:
    """One that leaves room for a scope: none stands out farther than 0.7 of the radius."""
    kind = KINDS[rng.choice(3, p=[0.5, 0.25, 0.25])]
    width = float(np.clip(rng.lognormal(np.log(6.5), 0.45), 2.5, min(20.0, radius)))
    stalk = 0.0
    if kind == "sessile":
        height = width * float(np.clip(0.38 + 0.15 * rng.normal(), 0.25, 0.65))
    elif kind == "flat":  # wider than a dome, and lower than closed forceps are wide
        width = float(np.clip(1.6 * width, 5.0, radius))
        height = float(np.clip(width * rng.uniform(0.08, 0.25), 1.0, 2.5))
    else:
        width = float(np.clip(width, 4.0, 0.6 * radius))
        height, stalk = 0.9 * width, float(rng.uniform(0.25, 0.5)) * radius
    height = min(height, 0.7 * radius)
    return Polyp(kind, float(rng.uniform(0.1, 0.9)), float(rng.uniform(0, 2 * np.pi)), width, height, stalk)
