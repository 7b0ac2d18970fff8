"""The wall of a phantom colon: its centreline, and how far from it the wall is, folds and bands included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.phantoms.people import NARROW, WIDE, Person

if TYPE_CHECKING:
    from jaxtyping import Float

STEP, ANGLES = 0.25, 360  # the wall is tabled every 0.25 mm along and every degree around
REACH = 30.0  # mm on either side of its place that a fold may reach
TALLEST = 0.58  # of the radius
OPEN = 4.5  # mm: no fold comes nearer to the centreline, so that a scope gets through


@dataclass(frozen=True)
class Frame:
    """Centreline every STEP mm with a frame that does not spin about it (Bishop 1975).

    points, tangent, u, v: (N, 3).
    """

    points: Float[np.ndarray, "N 3"]
    tangent: Float[np.ndarray, "N 3"]
    u: Float[np.ndarray, "N 3"]
    v: Float[np.ndarray, "N 3"]


def centreline(person: Person, rng: np.random.Generator) -> Frame:
    """Integrates a heading that turns at the flexures and wanders between; drawn again while it meets itself."""
    n = round(person.length / STEP) + 1
    s = np.linspace(0, 1, n)
    reach = min(WIDE, person.radius * (1 + 1.5 * person.calibre))
    for attempt in range(100):
        ease = max(0.2, 1 - 0.03 * attempt)  # straighter with every failure, so that the search ends
        bend_u, bend_v = np.zeros(n), np.zeros(n)
        for flexure in person.flexures:
            # A bump of this half-width has the asked radius at its tightest: turn / (sqrt(2 pi) width) = 1 / radius.
            turn = flexure.turn * ease
            width = max(0.02, turn * flexure.tightness * reach / (np.sqrt(2 * np.pi) * person.length))
            bump = np.exp(-0.5 * ((s - flexure.place) / width) ** 2)
            bump *= turn / (bump.sum() * STEP)
            bend_u += bump * np.cos(flexure.plane)
            bend_v += bump * np.sin(flexure.plane)
        for bend in (bend_u, bend_v):
            for waves in (2, 3, 4):
                bend += ease * person.wander * rng.normal() * np.sin(2 * np.pi * (waves * s + rng.uniform()))
        frame = _integrate(bend_u, bend_v)
        if _apart(frame.points, 2.5 * reach + 6.0):
            return frame
    raise AssertionError("no centreline found")  # ease makes the last attempts nearly straight


def _integrate(bend_u: np.ndarray, bend_v: np.ndarray) -> Frame:
    n = len(bend_u)
    points, tangent, u, v = (np.empty((n, 3)) for _ in range(4))
    p, m = np.zeros(3), np.eye(3)  # columns of m: u, v, tangent
    for i in range(n):
        points[i], u[i], v[i], tangent[i] = p, m[:, 0], m[:, 1], m[:, 2]
        p = p + STEP * m[:, 2]
        turned = m[:, 2] + STEP * (bend_u[i] * m[:, 0] + bend_v[i] * m[:, 1])
        turned /= np.linalg.norm(turned)
        first = m[:, 0] - (m[:, 0] @ turned) * turned
        first /= np.linalg.norm(first)
        m = np.stack([first, np.cross(turned, first), turned], axis=1)
    # The longest axis of the curve becomes z, the next y: the smallest box, hence the fewest voxels.
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    turn = axes[::-1] * np.sign(np.linalg.det(axes[::-1]))
    return Frame(centred @ turn.T, tangent @ turn.T, u @ turn.T, v @ turn.T)


def _apart(points: np.ndarray, least: float) -> bool:
    """Whether stretches of the curve that are not neighbours keep `least` mm from one another."""
    p = points[:: int(4 / STEP)]
    d = np.linalg.norm(p[:, None] - p[None], axis=-1)
    along = np.abs(np.subtract.outer(np.arange(len(p)), np.arange(len(p)))) * 4.0
    return bool(d[along > 1.45 * least].min(initial=np.inf) > least)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...], wrap: bool) -> np.ndarray:
    """Gaussian noise of unit deviation, correlated over sigma samples."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode=("nearest", "wrap") if wrap else "nearest")
    return np.asarray(noise / noise.std())


def table(person: Person, frame: Frame, rng: np.random.Generator) -> Float[np.ndarray, "N angles"]:
    """(N, ANGLES) mm: distance from the centreline to the wall, folds and bands included."""
    n = len(frame.points)
    s = np.arange(n)[:, None] * STEP
    theta = np.arange(ANGLES)[None] * (2 * np.pi / ANGLES)
    radius = _radius(person, n, rng)[:, None]
    kept = _kept(person, s)
    band = rng.uniform(0, 2 * np.pi) + person.twist * s + 0.12 * _smooth_noise(rng, (n,), (30 / STEP,), False)[:, None]
    # phi: angle from the nearest middle between two bands, -1 .. 1 from band to band
    third = np.floor((theta - band) / (2 * np.pi / 3)).astype(int) % 3
    phi = 2 * (((theta - band) / (2 * np.pi / 3)) % 1.0) - 1
    wall = radius * (1 + kept * person.triangle * np.cos(np.pi * phi))
    wall = wall * (1 - kept * _folds(person, s, theta, phi, third, radius, rng))
    arc = (1 - np.abs(phi)) * (np.pi / 3) * radius  # mm from the band's middle
    wall -= kept * person.taenia * np.exp(-((arc / (0.25 * radius)) ** 2))
    for size, height in ((7.0, person.rough), (2.6, 0.35 * person.rough)):  # mucosa is never a perfect surface
        wall += height * _smooth_noise(rng, (n, ANGLES), (size / STEP, size / person.radius * ANGLES / 6.28), True)
    end = np.minimum(s, (n - 1) * STEP - s) / (0.9 * radius)
    return wall * np.sqrt(np.clip(1 - np.clip(1 - end, 0, 1) ** 2, 0, 1))


def _radius(person: Person, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) mm between folds along the way."""
    from scipy import ndimage

    varied = person.radius * np.exp(person.calibre * _smooth_noise(rng, (n,), (30 / STEP,), False))
    return np.asarray(ndimage.gaussian_filter1d(np.clip(varied, NARROW, WIDE), 6 / STEP))


def _kept(person: Person, s: np.ndarray) -> np.ndarray:
    """(N, 1): 1 where there are haustra, `person.kept` where they are lost, over 3 cm in between."""
    if not person.smooth:
        return np.ones_like(s)
    begins = (1 - person.smooth) * person.length
    return 1 - (1 - person.kept) / (1 + np.exp(-(s - begins) / 6.0))


def _folds(
    person: Person,
    s: np.ndarray,
    theta: np.ndarray,
    phi: np.ndarray,
    third: np.ndarray,
    radius: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """(N, ANGLES): how far folds reach into the lumen, part of the radius. Where two meet, the taller one's."""
    folds = np.zeros(phi.shape)
    place = rng.uniform(0.3, 1.0) * person.fold_spacing
    while place < person.length - 6:
        around = rng.uniform() < person.rings
        for row in range(1 if around else 3):
            if not around and rng.uniform() < 0.07:  # here and there a row has no fold
                continue
            shift = place + person.alignment * rng.normal()
            depth = min(person.fold_height * float(np.clip(1 + 0.3 * rng.normal(), 0.4, 1.7)), TALLEST)
            width = person.fold_width * rng.uniform(0.8, 1.25)
            phase, tilt = rng.uniform(0, 2 * np.pi, 3), 0.10 * rng.normal(size=2)
            span = rng.uniform(0.85, 1.2)
            near = slice(max(0, int((shift - REACH) / STEP)), max(0, int((shift + REACH) / STEP)))
            if around:
                x = theta - phase[1]  # a ring lies askew, and is not as tall all around
                off = 2 * tilt[0] * np.cos(x) + 0.5 * tilt[1] * np.cos(2 * x)
                profile = 1 + 0.12 * np.sin(x + phase[2]) + 0.07 * np.sin(3 * x)
            else:
                # Neighbouring rows overlap a little past the band, so phi runs on beyond it.
                x = phi[near]
                x = np.where(third[near] == row, x, np.where(third[near] == (row + 1) % 3, x + 2, x - 2))
                off = tilt[0] * x + tilt[1] * x**2
                profile = np.clip(1 - (x / span) ** 2, 0, None) ** 0.85 * (1 + 0.07 * np.sin(6 * x + phase[2]))
            # The free edge is neither straight nor of one height.
            off = s[near] - shift - off * radius[near]
            off = off + 0.5 * np.sin((2 if around else 5) * x + phase[0]) + 0.3 * np.sin(9 * x + phase[1])
            folds[near] = np.maximum(folds[near], depth * profile * np.exp(-_ridge(off, width)))
        place += person.fold_spacing * max(0.55, 1 + 0.22 * rng.normal())
    return np.minimum(folds, 1 - OPEN / radius)


def _ridge(off: np.ndarray, width: float) -> np.ndarray:
    """Exponent of a fold's profile: round at the crest for a quarter of its width, slender above, wide at the foot."""
    crest = 0.25 * width
    return np.asarray(((np.sqrt(off**2 + crest**2) - crest) / width) ** 1.25)
