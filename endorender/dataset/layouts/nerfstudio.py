"""nerfstudio: transforms.json with OpenGL cameras in metres."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import Layout, Split, camera_refused, layouts, one_camera, sequences
from endorender.dataset.negative import write_png

OPENGL = np.diag([1.0, -1, -1, 1])  # OpenCV's x, -y, -z


@layouts.register("nerfstudio")
class Nerfstudio(Layout):
    """PATIENT/VARIATION/transforms.json, images/0000.png, depths/0000.npy: one scene a folder.

    transform_matrix: camera to world, OpenGL axes (x right, y up, z back), metres. Intrinsics in pixels whose corner,
    not centre, is at integers; each frame's own where views have different cameras. Depth: float32 millimetres along
    z, 0 invalid; nerfstudio's default `depth_unit_scale_factor` of 0.001 makes metres of it.
    """

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        home = {f.patient: name for name, frames in splits for f in frames}
        for patient, variation, frames in sequences(splits):
            folder = out / patient / variation
            for name in ("images", "depths"):
                (folder / name).mkdir(parents=True)
            each = [_intrinsics(frame) for frame in frames]
            same = all(one == each[0] for one in each)
            # camera_model has one place only; what stands in every frame must not stand above as well.
            model = one_camera("nerfstudio", frames, lambda frame: _intrinsics(frame)["camera_model"])
            rows = []
            for n, frame in enumerate(frames):
                image, depth = f"images/{n:04d}.png", f"depths/{n:04d}.npy"
                write_png(folder / image, frame.image())
                z = np.nan_to_num(frame.geometry()["z_depth"]).astype(np.float32)
                np.save(folder / depth, z, allow_pickle=False)
                pose = np.array(frame.world_from_camera) @ OPENGL
                pose[:3, 3] /= 1000
                own = {} if same else {k: v for k, v in each[n].items() if k != "camera_model"}
                row = {"file_path": image, "depth_file_path": depth, **own, "transform_matrix": pose.tolist()}
                rows.append(row)
            shared = each[0] if same else {"camera_model": model}
            told = {**shared, "split": home[patient], "frames": rows}
            (folder / "transforms.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _intrinsics(frame: Frame) -> dict[str, Any]:
    """nerfstudio's camera model and its parameters."""
    from endorender.scene.camera import cameras

    camera, kind = cameras.build(frame.camera), frame.camera["type"]
    names = {
        "pinhole": ("PINHOLE", ()),
        "thin_lens": ("PINHOLE", ()),
        "brown_conrady": ("OPENCV", ("k1", "k2", "k3", "p1", "p2")),
        "fisheye": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
    }
    rational = kind == "brown_conrady" and any((camera.k4, camera.k5, camera.k6))
    if kind not in names or rational:
        raise camera_refused("nerfstudio", kind, "--camera pinhole, fisheye, or brown_conrady without k4 to k6")
    model, distortion = names[kind]
    k = camera.K
    return {
        "camera_model": model,
        "fl_x": k[0, 0],
        "fl_y": k[1, 1],
        "cx": k[0, 2] + 0.5,
        "cy": k[1, 2] + 0.5,
        "w": camera.width,
        "h": camera.height,
        **{name: getattr(camera, name) for name in distortion},
    }
