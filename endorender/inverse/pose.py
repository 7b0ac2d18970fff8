"""Where photographs were taken from: a search on the geometry, then pictures.

The wall shaded by distance and angle alone (`render.synthetic`) has no noise and takes milliseconds, so its derivatives
by the pose are exact differences. In units of log luminance, where exposure is a constant and a wrong gamma a factor,
they are nearly those of the traced picture too: scattering and light between walls change levels slowly.

`search` tries poses on the shaded wall and settles the best of them by Levenberg-Marquardt, from blurred to sharp.
`refine` then compares traced pictures with the photograph and steps along the shaded wall's derivatives (Gauss-Newton
with another's Jacobian): it comes to rest where the *traced* picture fits, so errors of the plain shading cost steps,
not truth. Any camera, light and surface mode that can be traced will do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.inverse.parameters import moved
from endorender.inverse.target import BURNT, linear
from endorender.render import geometry, radiance, synthetic
from endorender.scene.response import LUMA, Response
from endorender.scene.scene import Scene

COARSE = 24  # pixels of the longer side in the search
DARK = 1e-3  # of the brightest luminance: below, its logarithm says nothing
FLOOR = 0.01  # the same of traced pictures, which are noisy
GAUGE = np.array([1.0, 1.0, 1.0, 0.05, 0.05, 0.05])  # mm and radians that move a picture about as much
NUDGE = 0.1  # of GAUGE, for differences of the shaded wall
ROUNDS, ELITE = 7, 8  # of the search, and the best of each
SETTLED, FINAL = 6, 2  # how many of them are settled, and how many of those in the photograph's size
BLURS = (3.0, 2.0, 1.0, 0.7)  # px at 64 pixels: how sharply the shaded wall is looked at, in turn
SLOW = 0.003  # share of the cost below which a step that gains no more is the last
DRIFT = (3.0, 10.0)  # mm and degrees; refining that goes half as far again has lost its way
SHARP = 0.8  # px over which traced pictures are averaged
SPP = (16, 16, 32, 32, 64, 64) + (96,) * 8  # of the steps; the later half is averaged


@dataclass(frozen=True)
class Seen:
    """A photograph's linear luminance (H, W), and where it can be compared (H, W) float."""

    luma: np.ndarray
    weight: np.ndarray

    @staticmethod
    def of(photograph: np.ndarray, scene: Scene, response: Response) -> Seen:
        """photograph: (H, W, 3) uint8 of the scene's camera. response: its exposure does not matter."""
        good = (photograph.max(-1) < BURNT) & scene.camera.visible()
        return Seen(linear(photograph / 255, response) @ LUMA, good.astype(float))

    def resized(self, width: int, height: int) -> Seen:
        """Averaged down."""
        zoom = (height / self.luma.shape[0], width / self.luma.shape[1])
        luma, weight = (ndimage.zoom(ndimage.gaussian_filter(x, 0.4 / np.array(zoom)), zoom, order=1, grid_mode=True,
                                     mode="nearest") for x in (self.luma, self.weight))  # fmt: skip
        return Seen(luma, weight)


def _shaded(scene: Scene, pose: np.ndarray, least: float = 0.0) -> np.ndarray | None:
    """(H, W) the wall in plain light; None in tissue, outside the scan, or where less than that share is in sight."""
    try:
        seen = geometry(scene.with_(world_from_camera=pose))
    except UserError:
        return None
    if seen.mask.mean() <= least:
        return None
    return np.asarray(synthetic(scene.with_(world_from_camera=pose), seen) @ LUMA, float)


def _log(luma: np.ndarray, blur: float, floor: float) -> np.ndarray:
    """Log luminance, of a blurred picture and above a floor, which is a share of its bright end."""
    near = ndimage.gaussian_filter(luma, blur, mode="nearest")
    return np.asarray(np.log(near + floor * max(float(np.percentile(near, 99)), 1e-12)))


def _derivatives(scene: Scene, pose: np.ndarray, blur: float, floor: float) -> np.ndarray:
    """(H·W, 6) of the shaded wall's log luminance by steps of GAUGE; 0 where a step leads into the wall."""
    columns = []
    for step in np.diag(NUDGE * GAUGE):
        up, down = (_shaded(scene, moved(pose, s)) for s in (step, -step))
        change = 0.0 if up is None or down is None else (_log(up, blur, floor) - _log(down, blur, floor))
        columns.append(np.broadcast_to(change / (2 * NUDGE), (scene.camera.height, scene.camera.width)).ravel())
    return np.stack(columns, -1)


def _toned(log: np.ndarray) -> np.ndarray:
    """(N, 3) what an unknown tone adds to log luminance: a factor on it, a constant, and a veil of scattered light."""
    veil = np.exp(log.min() - log)
    return np.stack([log, np.ones_like(log), veil], 1)


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
    """x under the tone that brings it near to y, robustly: the factor, residuals, their scale, Charbonnier weights."""
    columns, w = _toned(x), weight
    for _ in range(5):
        root = np.sqrt(w)
        line = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0]
        rest = y - columns @ line
        scale = 1.48 * float(np.median(np.abs(rest[weight > 0]))) + 1e-3
        w = weight / np.sqrt(1 + (rest / scale) ** 2)
    return float(line[0]), rest, scale, w


def likeness(scene: Scene, pose: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> float:
    """-1..1: weighted correlation of log luminance with the shaded wall's; -1 where no wall is in sight."""
    shaded = _shaded(scene, pose, 0.5)
    if shaded is None:
        return -1.0
    log, w = _log(shaded, SHARP, DARK), weight / max(float(weight.sum()), 1e-9)
    a, b = log - (w * log).sum(), wanted - (w * wanted).sum()
    return float((w * a * b).sum() / np.sqrt(max((w * a * a).sum() * (w * b * b).sum(), 1e-12)))


def settle(scene: Scene, seen: Seen, pose: np.ndarray, steps: int = 12) -> tuple[np.ndarray, float]:
    """The nearest pose under which the shaded wall looks most like the photograph, and its cost (less is better).

    Levenberg-Marquardt on robust residuals of log luminance, up to a tone of each pose's own (`_toned`).
    """
    damping, cost, weight = 1e-2, np.inf, seen.weight.ravel()
    sharpness = scene.camera.width / 64

    def off(shaded: np.ndarray, blur: float, scale: float | None = None) -> Any:
        a, rest, own, w = _line(_log(shaded, blur, DARK).ravel(), wanted, weight)
        scale = scale or own
        loss = float((weight * (np.sqrt(1 + (rest / scale) ** 2) - 1)).sum()) * scale**2 / max(weight.sum(), 1e-9)
        return loss, a, rest, scale, w

    for blur in (b * sharpness for b in BLURS):
        wanted = _log(seen.luma, blur, DARK).ravel()
        for _ in range(steps):
            shaded = _shaded(scene, pose)
            if shaded is None:
                return pose, np.inf
            cost, a, rest, scale, w = off(shaded, blur)
            log = _log(shaded, blur, DARK).ravel()
            rows = np.column_stack([a * _derivatives(scene, pose, blur, DARK), _toned(log)])
            square, pull = rows.T @ (rows * w[:, None]), rows.T @ (w * rest)
            for _ in range(4):
                damped = square + np.diag(damping * np.diag(square) + 1e-9)
                tried = moved(pose, np.linalg.solve(damped, pull)[:6] * GAUGE)
                other = _shaded(scene, tried)
                less = np.inf if other is None else off(other, blur, scale)[0]
                if less < cost:
                    pose, damping = tried, max(damping / 5, 1e-4)
                    break
                damping = min(5 * damping, 1e3)
            if less > cost * (1 - SLOW):
                break
    return pose, cost


def search(
    scene: Scene, photograph: np.ndarray, response: Response, reach_mm: float = 6.0, reach_deg: float = 12.0,
    samples: int = 240, seed: int = 0, report: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """(4, 4) the pose near the scene's under which the shaded wall is most like the photograph, and the likeness.

    Sampled evenly within the reach, then around the best ones, each round more narrowly (cross-entropy method); the
    best of all rounds and the start are settled.
    """
    height, width = photograph.shape[:2]
    share = min(1.0, COARSE / max(height, width))
    w, h = max(8, round(width * share)), max(8, round(height * share))
    small, whole = scene.with_(camera=scene.camera.resized(w, h)), Seen.of(photograph, scene, response)
    seen = whole.resized(w, h)
    wanted = _log(seen.luma, SHARP, DARK)
    rng = np.random.default_rng([seed, 0x905E])
    spread = np.concatenate([np.full(3, reach_mm), np.radians(np.full(3, reach_deg))]) / GAUGE
    start = np.asarray(scene.world_from_camera, float)

    def score(xi: np.ndarray) -> float:
        return likeness(small, moved(start, xi * GAUGE), wanted, seen.weight)

    # A ball for the shift and one for the turn: no corner lies farther out than was asked for.
    directions = rng.normal(size=(samples, 2, 3))
    directions *= rng.uniform(size=(samples, 2, 1)) ** (1 / 3) / np.linalg.norm(directions, axis=-1, keepdims=True)
    tried = np.vstack([np.zeros(6), directions.reshape(samples, 6) * spread])
    scores = np.array([score(xi) for xi in tried])
    places = [start, *(moved(start, tried[k] * GAUGE) for k in np.argsort(-scores)[: SETTLED // 2])]
    for n in range(ROUNDS):
        if report:
            report((n + 1) / (ROUNDS + 2))
        best = tried[np.argsort(-scores)[:ELITE]]
        width_now = np.maximum(np.sqrt(np.mean((best - best[0]) ** 2, 0)), 0.02) * 0.9
        new = best[rng.integers(0, ELITE // 2, samples // 4)] + rng.normal(size=(samples // 4, 6)) * width_now
        new = np.vstack([best.mean(0), new])
        tried, scores = np.vstack([tried, new]), np.concatenate([scores, [score(xi) for xi in new]])
    places += [moved(start, tried[k] * GAUGE) for k in np.argsort(-scores)[: SETTLED // 2]]
    first = sorted((settle(small, seen, place) for place in places), key=lambda pair: pair[1])
    last = sorted((settle(scene, whole, place) for place, _ in first[:FINAL]), key=lambda pair: pair[1])
    # In a lumen that looks alike for a long way, settling walks along it: what was asked for is a pose near the start.
    near = [place for place, _ in (*last, *first) if _within(start, place, reach_mm, reach_deg)]
    found = near[0] if near else moved(start, tried[int(np.argmax(scores))] * GAUGE)
    return found, likeness(scene, found, _log(whole.luma, SHARP, DARK), whole.weight)


def _within(start: np.ndarray, pose: np.ndarray, mm: float, degrees: float) -> bool:
    """Whether a pose is at most half as far again from the start as was asked for."""
    shift, turn = apart(start, pose)
    return shift <= 1.5 * mm and turn <= 1.5 * degrees


def refine(
    scene: Scene, photograph: np.ndarray, response: Response, spp: tuple[int, ...] = SPP, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(4, 4) the pose from which a traced picture looks most like the photograph, from within a few mm and degrees.

    Also (6,) the standard deviation of the last steps about it, mm and radians: what the pictures' own noise leaves.
    Exposure, gamma and veil are free at every step (`_toned`). spp: samples per pixel of each step.
    Raises UserError POSE when it runs away (DRIFT) or into the wall.
    """
    seen, way_in = Seen.of(photograph, scene, response), np.asarray(scene.world_from_camera, float)
    pose = way_in
    # A pixel next to a burnt one has its light blurred in.
    weight = ndimage.minimum_filter(seen.weight, 3).ravel()
    near = ndimage.gaussian_filter(seen.luma, SHARP, mode="nearest")
    floor = FLOOR * float(np.percentile(near, 99))
    aim = (near + floor).ravel()
    way = []
    for step, count in enumerate(spp):
        if progress:
            progress(step, len(spp))
        traced = radiance([scene.with_(world_from_camera=pose)], count, seed * 1_000_003 + step)[0].mean @ LUMA
        step_taken = _step(scene, pose, ndimage.gaussian_filter(traced.astype(float), SHARP), aim, floor, weight)
        pose = moved(pose, np.clip(step_taken, -1.5, 1.5) * GAUGE)
        if _shaded(scene, pose) is None or not _within(way_in, pose, *DRIFT):
            raise UserError("refining ran away from the pose", "POSE")
        way.append(pose)
    return _mean(way[len(way) // 2 :])


def _step(
    scene: Scene, pose: np.ndarray, traced: np.ndarray, aim: np.ndarray, floor: float, weight: np.ndarray
) -> np.ndarray:
    """(6,) in units of GAUGE. aim: the photograph's luminance and the floor; traced: (H, W) the picture's.

    Residuals are 1 - gain · picture / photograph: linear in the picture, whose noise leaves no bias.
    """
    shaded, used = _shaded(scene, pose), weight > 0
    assert shaded is not None
    gain = float(np.median(aim[used]) / max(float(np.median(traced.ravel()[used])), 1e-12))
    off = 1 - (gain * traced.ravel() + floor) / aim
    log = np.log(aim)
    # How much flatter than the shaded wall the traced one is: light between walls fills shadows.
    flatter = np.polyfit(_log(shaded, SHARP, FLOOR).ravel()[used], log[used], 1)[0]
    rows = np.column_stack([flatter * _derivatives(scene, pose, SHARP, FLOOR), _toned(log)])
    w, found = weight, np.zeros(9)
    for _ in range(6):
        found = np.linalg.solve(rows.T @ (rows * w[:, None]) + 1e-9 * np.eye(9), rows.T @ (w * off))
        # Weighed by what neighbours have together: by a pixel's own noise, bright and dark would not count alike.
        rest = ndimage.gaussian_filter((off - rows @ found).reshape(shaded.shape), 1.5).ravel()
        scale = 1.48 * float(np.median(np.abs(rest[used]))) + 1e-3
        w = weight / (1 + (rest / (1.5 * scale)) ** 2)
    return np.asarray(found[:6])


def _mean(poses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(4, 4) mean pose, (6,) standard deviation about it: mm along and radians about the mean's axes."""
    turns = Rotation.from_matrix([p[:3, :3] for p in poses])
    mean = np.eye(4)
    mean[:3, :3], mean[:3, 3] = turns.mean().as_matrix(), np.mean([p[:3, 3] for p in poses], 0)
    along = np.array([p[:3, 3] - mean[:3, 3] for p in poses]) @ mean[:3, :3]
    about = (turns.mean().inv() * turns).as_rotvec()
    return mean, np.concatenate([along, about], -1).std(0)


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Distance in mm and angle in degrees between two poses."""
    turn = a[:3, :3].T @ b[:3, :3]
    angle = np.degrees(np.arctan2(np.linalg.norm(turn - turn.T) / np.sqrt(8), (np.trace(turn) - 1) / 2))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), float(angle)
