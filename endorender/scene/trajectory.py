"""Where an endoscope looks from: camera poses along a lumen's centreline."""

from __future__ import annotations

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.lumen import Lumen, Path, sample
from endorender.ct.volume import Volume
from endorender.errors import UserError

AHEAD_MM = (8.0, 20.0)  # how far ahead on the centreline the scope aims, at least and at most
TRIES = 8


def poses(
    volume: Volume,
    lumen: Lumen,
    path: Path,
    views: int,
    seed: int,
    min_clearance_mm: float | np.ndarray = 2.5,
    jitter: float | np.ndarray = 0.5,
    roll: float | np.ndarray = 180.0,
    look_aside: float | np.ndarray = 12.0,
) -> np.ndarray:
    """Camera poses in the order of the path, from its first point towards its last.

    The path is divided into `views` equal stretches with one camera in each; of a path of several pieces each is, and
    has views by its length, at least one where there are enough. It aims at a place farther along,
    is pushed aside from the centreline, turned away from its aim and rolled, all at random but never closer to the
    wall than min_clearance_mm: an offset that would be is drawn again, then shrunk.

    jitter: 0..1, the part of the free radius (clearance - min_clearance_mm) that the push may take.
    roll: degrees, uniform in +-roll about the view axis. look_aside: degrees, standard deviation, cut at twice it.
    Each of the four is one number or one for every view.
    Returns (V, 4, 4) world_from_camera, OpenCV axes (x right, y down, z forward), RAS mm.
    Deterministic in its arguments. Raises CTError NO_PATH where the whole path is too narrow.
    """
    if views < 1:
        raise ValueError(f"views must be >= 1, got {views}")
    each = [np.broadcast_to(np.asarray(x, float), views) for x in (min_clearance_mm, jitter, roll, look_aside)]
    if not (each[1].min() >= 0 and each[1].max() <= 1):
        raise ValueError(f"jitter must be in [0, 1], got {jitter}")
    rng = np.random.default_rng([seed, 0x905E5])
    out, n = [], 0
    for piece, count in zip(path.pieces, _shares(path, views)):
        if count:
            way = Path(path.points[piece], path.clearance[piece])
            out.append(_flown(volume, lumen, way, [x[n : n + count] for x in each], rng))
            n += count
    return np.concatenate(out)


def _shares(path: Path, views: int) -> list[int]:
    """How many views each piece of a path gets: by its length, and where there are enough at least one."""
    lengths = np.array([np.ptp(path.along[piece]) for piece in path.pieces])
    least = int(views >= len(lengths))
    wanted = (views - least * len(lengths)) * lengths / lengths.sum()
    shares = np.floor(wanted).astype(int)
    rest = views - least * len(lengths) - int(shares.sum())
    shares[np.argsort(shares - wanted, kind="stable")[:rest]] += 1  # the largest remainders
    return [int(share) + least for share in shares]


def _flown(volume: Volume, lumen: Lumen, path: Path, each: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(V, 4, 4) of one piece of a path. each: the four of `poses`, of V views."""
    points, views = path.points, len(each[0])
    step = path.length / (len(points) - 1)
    # Nothing to see from the far end, where the nose would touch: the last aim lies on the path.
    inner = np.arange(len(points))[: max(2, len(points) - int(AHEAD_MM[0] / step))]
    usable_at = {limit: inner[path.clearance[inner] >= limit] for limit in np.unique(each[0])}
    if narrow := [limit for limit, found in usable_at.items() if not len(found)]:
        raise CTError(
            f"the way through the lumen is {2 * float(path.clearance.max()):.1f} mm wide at most, too narrow to keep "
            f"{narrow[0]:g} mm from the wall",
            "NO_PATH",
        )
    frames = _frames(points)
    out = np.empty((views, 4, 4))
    for n, (min_clearance, push, turn, aside) in enumerate(zip(*(x.tolist() for x in each))):
        usable = usable_at[min_clearance]
        # Among the usable points, so that a narrow stretch costs no views.
        index = usable[min(len(usable) - 1, int((n + rng.uniform()) / views * len(usable)))]
        out[n] = _pose(volume, lumen, path, frames, int(index), step, rng, min_clearance, push, turn, aside)
    return out


def refuse_outside(volume: Volume, lumen: Lumen, given: np.ndarray) -> None:
    """Raise UserError POSES with the number, from 1, of the first pose that is not in the lumen. given: (N, 4, 4).

    A place is in tissue where the trilinear HU lie above the wall's threshold, and in this lumen where they lie below
    and a voxel around it belongs to it. volume, lumen: as prepared, which is cropped to 25 mm around the lumen.
    """
    at = volume.to_voxel(given[:, :3, 3])
    inside = ((at >= 0) & (at <= np.array(volume.shape) - 1)).all(1)
    solid = inside & (sample(volume, volume.hu.astype(np.float32), given[:, :3, 3]) >= lumen.threshold)
    elsewhere = inside & ~solid & ~(sample(volume, lumen.mask.astype(np.float32), given[:, :3, 3]) > 0)
    way_out = "check in which frame and unit they are (docs/poses.md)"
    sealed = " or in air that is not this lumen's" if "sealed_ml" in volume.meta else ""
    for bad, why in (
        (~inside, f"lies outside the scan, or more than 25 mm from the lumen: {way_out}"),
        (solid, f"lies inside tissue{sealed}: {way_out}"),
        (elsewhere, "lies in air, but not in the lumen that was chosen: choose its own with --region"),
    ):
        if bad.any():
            more = f" ({bad.sum() - 1} more likewise)" if bad.sum() > 1 else ""
            raise UserError(f"pose {int(np.flatnonzero(bad)[0]) + 1} {why}{more}", "POSES")


def _pose(
    volume: Volume,
    lumen: Lumen,
    path: Path,
    frames: np.ndarray,
    index: int,
    step: float,
    rng: np.random.Generator,
    min_clearance: float,
    jitter: float,
    roll: float,
    look_aside: float,
) -> np.ndarray:
    """(4, 4) one camera at a point of the path."""
    here, clearance = path.points[index], float(path.clearance[index])
    ahead = float(np.clip(clearance, *AHEAD_MM))
    aim = path.points[min(len(path.points) - 1, index + max(1, round(ahead / step)))]
    position = here
    reach = jitter * max(0.0, clearance - min_clearance)
    for attempt in range(TRIES):
        # Uniform over the disc across the path.
        r, a = reach * np.sqrt(rng.uniform()), 2 * np.pi * rng.uniform()
        tried = here + r * (np.cos(a) * frames[index, :, 0] + np.sin(a) * frames[index, :, 1])
        if float(sample(volume, lumen.clearance, tried)) >= min_clearance:
            position = tried
            break
        reach *= 0.7 if attempt else 1.0
    forward = aim - position
    forward /= np.linalg.norm(forward)
    basis = _upright(forward, frames[index, :, 1])
    side = np.clip(rng.normal(size=2), -2, 2) * np.radians(look_aside)
    turned = basis @ _turn(0, side[0]) @ _turn(1, side[1]) @ _turn(2, np.radians(rng.uniform(-roll, roll)))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turned, position
    return pose


def _frames(points: np.ndarray) -> np.ndarray:
    """(N, 3, 3) columns across, across, along: carried along the path without spinning about it (Bishop 1975)."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    out = np.empty((len(points), 3, 3))
    # Patient's anterior (RAS y) up at first; superior where the path itself runs forward or back.
    first = np.array([0.0, 1.0, 0.0]) if abs(tangent[0, 1]) < 0.8 else np.array([0.0, 0.0, 1.0])
    down = -first
    for n, t in enumerate(tangent):
        down = down - (down @ t) * t
        down /= np.linalg.norm(down)
        out[n] = np.stack([np.cross(down, t), down, t], axis=1)
    return out


def _upright(forward: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(3, 3) rotation with columns right, down, forward; down as near to the given one as it can be."""
    down = down - (down @ forward) * forward
    down /= np.linalg.norm(down)
    return np.stack([np.cross(down, forward), down, forward], axis=1)


def _turn(axis: int, angle: float) -> np.ndarray:
    """(3, 3) rotation about a camera axis."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [a for a in range(3) if a != axis]
    m = np.eye(3)
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m
