"""SimCol3D (Rau et al. 2023): a Unity camera with 16-bit z-depth in centimetres."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import (
    ForeignFrame,
    Layout,
    Split,
    camera_refused,
    layouts,
    marks,
    numbered,
    one_camera,
    quantised,
    read_names,
    read_png,
    read_table,
    refuse_stretched,
    rigid,
    sequences,
    size_of,
    write_names,
    write_png16,
    write_table,
)
from endorender.dataset.negative import write_png
from endorender.errors import UserError

LEVELS_PER_CM = 65280 / 20  # 255 * 256 levels for 20 cm: not 65535
FLIP = np.diag([1.0, -1, 1, 1])  # Unity's left-handed frames have y up
LETTERS = "SBO"  # of the trajectories in SyntheticColon_I, II, III
ROMAN = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
PUBLISHED = (227.604, 0, 237.5, 0, 227.604, 237.5, 0, 0, 1)  # K of pictures of 475 x 475
OFF_CENTRE, SAME = 0.1, 0.01  # shares by which a principal point may lie off the middle; by which two are the same


@layouts.register("simcol3d", cases=[{}])
class SimCol3D(Layout):
    """SyntheticColon_N/Frames_XK/{FrameBuffer,Depth}_0000.png, cam.txt, Saved{Position,RotationQuaternion}_XK.txt.

    z-depth: uint16 / 65280 * 20 cm, 0 invalid; deeper than 20 cm is cut there. Positions in cm, quaternions x y z w of
    a left-handed frame with y up: with T = diag(1, -1, 1, 1) and P their matrix, world_from_camera is T P T (OpenCV
    axes). cam.txt: K, row by row, of pictures whose centre is its principal point: copies of another size are seen
    scaled where they have that shape; without it K is the published one. Without the files of poses frames have none.
    Every patient is a colon, every variation a trajectory.
    """

    READS: ClassVar[bool] = True

    swapped: bool = Field(False, description="read cam.txt as the organisers' helper does: fx = cx, fy = cy")

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        names: dict[str, Frame] = {}
        patients: dict[str, int] = {}
        found = sequences(splits)
        # One cam.txt for a colon: for all variations of a patient.
        held: dict[str, list[Frame]] = {}
        for patient, _, frames in found:
            held.setdefault(patient, []).extend(frames)
        matrix = {patient: one_camera("simcol3d", frames, _matrix) for patient, frames in held.items()}
        for patient, _, frames in found:
            n = patients.setdefault(patient, len(patients) + 1)
            colon = out / f"SyntheticColon_{roman(n)}"
            k = 1 + sum(name.startswith(f"{colon.name}/") for name in names)
            label = f"{LETTERS[(n - 1) % 3]}{k}"
            folder = colon / f"Frames_{label}"
            folder.mkdir(parents=True)
            names[f"{colon.name}/{folder.name}"] = frames[0]
            for number, frame in enumerate(frames):
                geometry = frame.geometry()
                levels = quantised(geometry["z_depth"] / 10, LEVELS_PER_CM, 65280, geometry["mask"])
                write_png(folder / f"FrameBuffer_{number:04d}.png", frame.image())
                write_png16(folder / f"Depth_{number:04d}.png", levels)
            write_table(colon / "cam.txt", np.array(matrix[patient]).reshape(1, 9), " ")
            poses = FLIP @ np.array([f.world_from_camera for f in frames]) @ FLIP
            write_table(colon / f"SavedPosition_{label}.txt", poses[:, :3, 3] / 10, " ")
            write_table(colon / f"SavedRotationQuaternion_{label}.txt", _quaternions(poses[:, :3, :3]), " ")
        write_names(out, names)

    def read(self, root: Path) -> list[ForeignFrame]:
        """See Layout. Without sequences.json a colon is a patient and a trajectory a part of it."""
        from scipy.spatial.transform import Rotation

        names = read_names(root)
        found: list[ForeignFrame] = []
        count: dict[str, int] = {}  # views of a patient so far
        for folder in sorted([*root.glob("SyntheticColon_*/Frames_*"), *root.glob("Frames_*")]):
            colon, label = folder.parent, folder.name.removeprefix("Frames_")
            own = names.get(f"{colon.name}/{folder.name}", {})
            patient = own.get("patient", colon.name if colon != root else "SyntheticColon")
            variation = own.get("variation", "simcol3d")
            files = [colon / f"Saved{what}_{label}.txt" for what in ("Position", "RotationQuaternion")]
            there = any(file.is_file() for file in files)
            positions = read_table(files[0], 3) if there else None
            turns = Rotation.from_quat(read_table(files[1], 4)).as_matrix() if there else ()
            images = numbered(folder, r"FrameBuffer_(\d+)\.png")
            depths = numbered(folder, r"Depth_(\d+)\.png")
            for number in sorted(set(images) & set(depths)):
                at = None
                if positions is not None:
                    if number >= min(len(positions), len(turns)):
                        raise UserError(f"{label}: frame {number} has no pose", "LAYOUT_POSE")
                    pose = np.eye(4)
                    pose[:3, :3], pose[:3, 3] = turns[number], positions[number] * 10
                    at = rigid(FLIP @ pose @ FLIP, f"pose {number} of {label}")
                width, height = size_of(images[number])
                view = count.setdefault(patient, 0)
                count[patient] += 1
                found.append(
                    ForeignFrame(
                        id=f"{patient}/{label}/{number:04d}",
                        patient=patient,
                        view=view,
                        variation=variation,
                        camera=self._camera(colon / "cam.txt", (width, height), own.get("size")),
                        world_from_camera=at,
                        paths={"image": images[number], "geometry": depths[number]},
                        load_image=partial(read_png, images[number]),
                        load_depth=partial(_depth, depths[number]),
                        volume=marks(own),
                    )
                )
        return found

    def _camera(self, path: Path, size: tuple[int, int], told: Sequence[int] | None) -> dict[str, object]:
        """The pinhole of cam.txt: nine numbers, in one line or three. told: the size that they are for, if known."""
        try:
            k = [float(x) for x in path.read_text(encoding="utf-8").replace(",", " ").split()]
        except FileNotFoundError:
            k = list(PUBLISHED)
        except (OSError, ValueError):
            k = []
        if len(k) != 9 or not np.isfinite(k).all():
            raise UserError("cam.txt must hold the nine numbers of K", "LAYOUT_DAMAGED")
        fx, fy, cx, cy = k[0], k[4], k[2], k[5]
        of = _size_of_k(cx, cy, size) if told is None else (int(told[0]), int(told[1]))
        refuse_stretched(size, of, "cam.txt")
        if self.swapped:
            fx, cx, fy, cy = fx, fx, cx, cx
        camera = {"type": "pinhole", "width": size[0], "height": size[1], "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        return camera if of == size else {**camera, "calibrated": list(of)}


def _matrix(frame: Frame) -> tuple[tuple[float, ...], ...]:
    """K, of a camera that is described by it."""
    if frame.camera["type"] not in ("pinhole", "thin_lens"):
        raise camera_refused("simcol3d", frame.camera["type"], "--camera pinhole")
    return frame.K


def _size_of_k(cx: float, cy: float, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that K was made for: K does not say it, but its principal point lies near their middle.

    In the middle of pictures of `size` it is theirs. Off it, it is theirs where it lies as real cameras have it, and
    not by the same share both ways, as in a scaled copy.
    """
    off = [c - (n - 1) / 2 for c, n in zip((cx, cy), size)]
    across, down = (2 * o / n for o, n in zip(off, size))
    if max(map(abs, off)) <= 1 or (max(abs(across), abs(down)) <= OFF_CENTRE and abs(across - down) > SAME):
        return size
    return max(1, round(2 * cx)), max(1, round(2 * cy))


def _depth(path: Path) -> np.ndarray:
    """(H, W) z-depth in mm, NaN where 0."""
    levels = read_png(path).astype(float)
    if levels.ndim != 2:
        raise UserError(f"{path.name} must be a grey picture of 16 bits", "LAYOUT_DAMAGED")
    return np.where(levels > 0, levels / LEVELS_PER_CM * 10, np.nan)


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """(N, 3, 3) -> (N, 4) x y z w."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(rotations).as_quat())


def roman(n: int) -> str:
    """3 -> "III"."""
    text = "L" * (n // 50)
    n %= 50
    for value, letters in ROMAN:
        text += letters * (n // value)
        n %= value
    return text
