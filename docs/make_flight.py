"""Makes the front page's video again: `python docs/make_flight.py`, some minutes on two cores.

A smooth flight along a phantom's centreline, rendered as `endorender render --ct phantom:4 --poses flight.json` renders
it, each picture beside its depth.
"""

from __future__ import annotations

import json
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from endorender.ct import open_ct, prepare
from endorender.dataset import configure, generate, open_dataset
from endorender.dataset.sheet import colour_depth
from training.depth_files import SideBySide

STATIC = Path(__file__).parent / "_static"
CT, FROM_MM, STEP_MM, FRAMES, RATE = "phantom:4", 190.0, 2.0, 42, 12
SMOOTH_MM, AHEAD_MM, FAR_MM = 8.0, 18.0, 60.0
PICTURE = {"size": "192x144", "spp": 8}


def flight(frames: int = FRAMES) -> np.ndarray:
    """(N, 4, 4) world_from_camera: evenly along the smoothed centreline, each towards a place AHEAD_MM farther on."""
    path = prepare(open_ct(CT)).path
    at = np.arange(0, path.length, 0.5)
    line = np.stack([np.interp(at, path.along, path.points[:, k]) for k in range(3)], 1)
    line = gaussian_filter1d(line, SMOOTH_MM / 0.5, axis=0)
    here = np.searchsorted(at, FROM_MM + STEP_MM * np.arange(frames))
    aim = line[here + int(AHEAD_MM / 0.5)] - line[here]
    poses, down = np.tile(np.eye(4), (frames, 1, 1)), np.array([0.0, -1.0, 0.0])
    for pose, forward, place in zip(poses, aim / np.linalg.norm(aim, axis=1, keepdims=True), line[here]):
        down = down - (down @ forward) * forward  # carried along without spinning
        down /= np.linalg.norm(down)
        pose[:3, :3], pose[:3, 3] = np.stack([np.cross(down, forward), down, forward], 1), place
    return poses


def main() -> None:
    """Poses, frames, the video and the picture that stands for it until it plays."""
    STATIC.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        poses = Path(folder, "flight.json")
        poses.write_text(json.dumps(flight().tolist()))
        frames = open_dataset(generate(configure(ct=CT, poses=str(poses), **PICTURE), Path(folder, "frames"))).frames
        height, width = frames[0].image().shape[:2]
        film = SideBySide(STATIC / "flight.mp4", (height, width), Fraction(RATE))
        for frame in frames:
            film.add(frame.image(), colour_depth(frame.geometry()["z_depth"], FAR_MM))
        film.close()
        first = frames[0]
        halves = [first.image(), colour_depth(first.geometry()["z_depth"], FAR_MM)]
        Image.fromarray(np.concatenate(halves, 1)).save(STATIC / "flight.jpg", quality=88)


if __name__ == "__main__":
    main()
