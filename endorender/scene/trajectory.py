"""Where an endoscope looks from: camera poses along a lumen's centreline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.anatomy.lumen import Lumen, Path, sample
from endorender.ct.errors import CTError
from endorender.ct.volume import Volume
from endorender.errors import UserError
from endorender.scene.scope import Own, Scope, scopes

if TYPE_CHECKING:
    from jaxtyping import Float64, Integer, Real

AHEAD_MM = (8.0, 20.0)  # how far ahead on the centreline the scope aims, at least and at most
NEARING_MM = 25.0  # at most that a camera goes along its line of sight towards what it sees
TRIES = 8
# Shares of push and turn that are tried before a scope lies straight on its way.
EASED = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0)
SUITS = 2 / 3  # a scope suits a lumen if it fits along this share of the way


def poses(
    volume: Volume,
    lumen: Lumen,
    path: Path,
    views: int,
    seed: int,
    min_clearance_mm: float | Real[np.ndarray, " views"] = 2.5,
    jitter: float | Real[np.ndarray, " views"] = 0.5,
    roll: float | Real[np.ndarray, " views"] = 180.0,
    look_aside: float | Real[np.ndarray, " views"] = 12.0,
    ahead: float | Real[np.ndarray, " views"] = 1.0,
    approach: float | Real[np.ndarray, " views"] = 0.0,
    scope: Scope | None = None,
) -> Float64[np.ndarray, "V 4 4"]:
    """Camera poses in the order of the path, from its first point towards its last.

    The path is divided into `views` equal stretches with one camera in each; of a path of several pieces each is, and
    has views by its length, at least one where there are enough. It aims at a place farther along,
    is pushed aside from the centreline, turned away from its aim and rolled, all at random but never closer to the
    wall than min_clearance_mm: an offset that would be is drawn again, then shrunk.

    jitter: 0..1, the part of the free radius (clearance - min_clearance_mm) that the push may take.
    roll: degrees, uniform in +-roll about the view axis. look_aside: degrees, standard deviation, cut at twice it.
    ahead: how far along the path it aims, times the room there (8 to 20 mm): several times looks down a straight lumen,
    and into the wall of a bend. approach: 0..1, the part of the free way along its line of sight, 25 mm of it at most,
    that it then goes: 1 ends before a wall, a fold or a polyp.
    Each of the six is one number or one for every view.
    scope: an instrument whose stiff end stays out of tissue; where push and turn would put it there they are
    eased, and a piece where it fits nowhere has no views.
    Returns (V, 4, 4) world_from_camera, OpenCV axes (x right, y down, z forward), RAS mm.
    Deterministic in its arguments. Raises CTError NO_PATH where the whole path is too narrow.
    """
    if views < 1:
        raise ValueError(f"views must be >= 1, got {views}")
    given = (min_clearance_mm, jitter, roll, look_aside, ahead, approach)
    each = [np.broadcast_to(np.asarray(x, float), views) for x in given]
    for name, part in (("jitter", each[1]), ("approach", each[5])):
        if not (part.min() >= 0 and part.max() <= 1):
            raise ValueError(f"{name} must be in [0, 1], got {part.min():g} to {part.max():g}")
    rng = np.random.default_rng([seed, 0x905E5])
    ways = [Path(path.points[piece], path.clearance[piece]) for piece in path.pieces]
    open_to = [_inner(way) for way in ways]
    if scope is not None:
        open_to = [inner[_room(volume, lumen, way, scope)] for way, inner in zip(ways, open_to)]
        ways, open_to = [w for w, o in zip(ways, open_to) if len(o)], [o for o in open_to if len(o)]
        if not ways:
            raise CTError(_too_wide(volume, lumen, path, scope), "NO_PATH")
    out, n = [], 0
    for way, inner, count in zip(ways, open_to, _shares([way.length for way in ways], views)):
        if count:
            out.append(_flown(volume, lumen, way, inner, [x[n : n + count] for x in each], rng, scope))
            n += count
    return np.concatenate(out)


def suits(volume: Volume, lumen: Lumen, path: Path, scope: Scope) -> float:
    """Share of a way along which a scope's stiff end is free of tissue, laid straight on it."""
    ways = [Path(path.points[piece], path.clearance[piece]) for piece in path.pieces]
    return float(np.concatenate([_room(volume, lumen, way, scope) for way in ways]).mean())


def suitable(volume: Volume, lumen: Lumen, path: Path) -> Scope | None:
    """The widest registered scope that fits along SUITS of a way; None where none does."""
    known = [scopes.build(name) for name in scopes if scopes[name] is not Own]
    for scope in sorted(known, key=lambda s: -s.diameter):
        if suits(volume, lumen, path, scope) >= SUITS:
            return scope
    return None


def _too_wide(volume: Volume, lumen: Lumen, path: Path, scope: Scope) -> str:
    """What is said where a scope fits nowhere: the widest that would."""
    low, high = 0.0, scope.diameter
    while high - low > 0.1:
        middle = (low + high) / 2
        fits = suits(volume, lumen, path, Own(diameter=middle, rigid=scope.rigid)) > 0
        low, high = (middle, high) if fits else (low, middle)
    way_out = f"one of {np.floor(10 * low) / 10:.1f} mm would" if low >= 0.2 else "nor does any other that is as stiff"
    return f"a scope of {scope.diameter:g} mm fits nowhere on the way through the lumen; {way_out}: --scope"


def _inner(path: Path) -> np.ndarray:
    """Points of a path that a camera may take: the last aim lies on it."""
    step = path.length / (len(path.points) - 1)
    # Nothing to see from the far end, where the nose would touch.
    return np.arange(len(path.points))[: max(2, len(path.points) - int(AHEAD_MM[0] / step))]


def _room(volume: Volume, lumen: Lumen, path: Path, scope: Scope) -> np.ndarray:
    """(N,) bool of the inner points of a path: whether a scope laid straight on it is free of tissue."""
    return scope.fits(volume, lumen, _straight(path, _frames(path.points))[_inner(path)])


def _straight(path: Path, frames: np.ndarray) -> np.ndarray:
    """(N, 4, 4) on each point of a path, along it."""
    out = np.tile(np.eye(4), (len(frames), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = frames, path.points
    return out


def _shares(each: list[float], views: int) -> list[int]:
    """How many views each piece of a path gets: by its length, mm, and where there are enough at least one."""
    lengths = np.array(each)
    least = int(views >= len(lengths))
    wanted = (views - least * len(lengths)) * lengths / lengths.sum()
    shares = np.floor(wanted).astype(int)
    rest = views - least * len(lengths) - int(shares.sum())
    shares[np.argsort(shares - wanted, kind="stable")[:rest]] += 1  # the largest remainders
    return [int(share) + least for share in shares]


def _flown(
    volume: Volume,
    lumen: Lumen,
    path: Path,
    inner: np.ndarray,
    each: list[np.ndarray],
    rng: np.random.Generator,
    scope: Scope | None,
) -> np.ndarray:
    """(V, 4, 4) of one piece of a path. inner: its points that are open to a camera. each: the six of `poses`, of V
    views."""
    points, views = path.points, len(each[0])
    step = path.length / (len(points) - 1)
    usable_at = {limit: inner[path.clearance[inner] >= limit] for limit in np.unique(each[0])}
    if narrow := [limit for limit, found in usable_at.items() if not len(found)]:
        raise CTError(
            f"the way through the lumen is {2 * float(path.clearance.max()):.1f} mm wide at most, too narrow to keep "
            f"{narrow[0]:g} mm from the wall",
            "NO_PATH",
        )
    frames = _frames(points)
    out = np.empty((views, 4, 4))
    for n, (min_clearance, *how) in enumerate(zip(*(x.tolist() for x in each))):
        usable = usable_at[min_clearance]
        # Among the usable points, so that a narrow stretch costs no views.
        index = usable[min(len(usable) - 1, int((n + rng.uniform()) / views * len(usable)))]
        out[n] = _pose(volume, lumen, path, frames, int(index), step, rng, min_clearance, *how)
        if scope is not None:
            out[n] = _eased(volume, lumen, scope, out[n], path, frames, int(index), min_clearance)
    return out


def refuse_outside(
    volume: Volume,
    lumen: Lumen,
    given: Real[np.ndarray, "N 4 4"],
    which: Integer[np.ndarray, " M"] | None = None,
    what: str = "pose",
) -> None:
    """Raise UserError POSES with the number, from 1, of the first pose that is not in the lumen. given: (N, 4, 4).

    A place is in tissue where the trilinear HU lie above the wall's threshold, and in this lumen where they lie below
    and a voxel around it belongs to it. volume, lumen: as prepared, which is cropped to 25 mm around the lumen.
    which: indices of those that are looked at; None: all. what: a number follows it in the message.
    """
    which = np.arange(len(given)) if which is None else which
    given = given[which]
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
            raise UserError(f"{what} {int(which[bad][0]) + 1} {why}{more}", "POSES")


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
    ahead: float,
    approach: float,
) -> np.ndarray:
    """(4, 4) one camera at a point of the path."""
    here, clearance = path.points[index], float(path.clearance[index])
    mm = ahead * float(np.clip(clearance, *AHEAD_MM))
    aim = path.points[min(len(path.points) - 1, index + max(1, round(mm / step)))]
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
    if approach:
        pose[:3, 3] += approach * _free(volume, lumen, position, turned[:, 2], min_clearance) * turned[:, 2]
    return pose


def _free(volume: Volume, lumen: Lumen, position: np.ndarray, forward: np.ndarray, min_clearance: float) -> float:
    """mm that a camera can go straight on, NEARING_MM at most, and keep its distance from the wall."""
    mm = np.arange(0, NEARING_MM + 0.25, 0.25)
    near = sample(volume, lumen.clearance, position + mm[:, None] * forward) < min_clearance
    return float(mm[max(0, int(np.argmax(near)) - 1)] if near.any() else mm[-1])


def _eased(
    volume: Volume,
    lumen: Lumen,
    scope: Scope,
    pose: np.ndarray,
    path: Path,
    frames: np.ndarray,
    index: int,
    min_clearance: float,
) -> np.ndarray:
    """(4, 4) the pose, or as near to it as a scope's stiff end has room, on the line to where it lies on its way."""
    from scipy.spatial.transform import Rotation

    straight = _straight(path, frames)[index]
    # Roll turns the body about itself: what is eased is the rest.
    along = straight[:3, :3]
    roll = np.arctan2(along[:, 1] @ pose[:3, 0], along[:, 0] @ pose[:3, 0])
    straight[:3, :3] = along @ _turn(2, roll)
    turned = Rotation.from_matrix(straight[:3, :3].T @ pose[:3, :3]).as_rotvec()
    tried = np.tile(straight, (len(EASED), 1, 1))
    for n, share in enumerate(EASED):
        tried[n, :3, :3] = straight[:3, :3] @ Rotation.from_rotvec(share * turned).as_matrix()
        tried[n, :3, 3] += share * (pose[:3, 3] - straight[:3, 3])
    tried[0] = pose
    keeps = sample(volume, lumen.clearance, tried[:, :3, 3]) >= min_clearance
    free = np.flatnonzero(scope.fits(volume, lumen, tried) & keeps)
    return tried[free[0]] if len(free) else _straight(path, frames)[index]


def _frames(points: np.ndarray) -> np.ndarray:
    """(N, 3, 3) columns across, across, along: carried along the path without spinning about it (Bishop 1975)."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # Patient's anterior (RAS y) up at first; superior where the path itself runs forward or back.
    first = np.array([0.0, 1.0, 0.0]) if abs(tangent[0, 1]) < 0.8 else np.array([0.0, 0.0, 1.0])
    down = np.empty_like(tangent)
    last = -first
    for n, t in enumerate(tangent):
        last = last - (last @ t) * t
        last /= np.linalg.norm(last)
        down[n] = last
    return np.stack([np.cross(down, tangent), down, tangent], axis=2)


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
