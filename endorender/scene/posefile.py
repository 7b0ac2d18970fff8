"""Camera poses in files, as the tools write them that find or plan poses. What is read is world_from_camera, RAS mm."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from endorender.errors import UserError
from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Real, Shaped

pose_files = Registry("poses")
MOST_BYTES = 64_000_000
MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
OPENGL = np.diag([1.0, -1, -1, 1])  # x right, y up, z back
LPS = np.diag([-1.0, -1, 1, 1])
LAST = np.array([0.0, 0, 0, 1])
ROUNDED = 1e-3  # how far a matrix may be from a rotation: files round


class PoseFile(Model):
    """A format. Its fields say what its files leave open; what a file says of itself is believed where they are not
    given."""

    UNIT: ClassVar[str] = "mm"
    AXES: ClassVar[str] = "opencv"

    unit: Literal["mm", "cm", "m"] | None = Field(None, description="of positions; none: the file's, else the format's")
    world: Literal["ras", "lps"] | None = Field(None, description="axes of the patient; none: the file's, else ras")

    @classmethod
    def fits(cls, text: str) -> bool:
        """Whether a text looks like this format."""
        raise TypeError("a format defines how it is told")  # pragma: no cover

    def matrices(self, text: str) -> tuple[Real[np.ndarray, "N 4 4"], dict[str, Any]]:
        """(N, 4, 4) as they stand, world_from_camera in OpenCV's axes or `axes`; what the file says of its frame."""
        raise TypeError("a format defines what it holds")  # pragma: no cover

    def parse(self, text: str) -> Float64[np.ndarray, "N 4 4"]:
        """(N, 4, 4) world_from_camera, RAS mm, OpenCV axes. Raises UserError POSES with the number of a bad one."""
        try:
            found, said = self.matrices(text)
        except UserError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            name = pose_files.name_of(type(self))
            raise UserError(
                f"the poses cannot be read as {name} (see `endorender list poses`); JSON or text with 4 x 4 numbers a "
                "pose always can",
                "POSES",
            ) from None
        found = np.array(found, float)
        if found.ndim != 3 or found.shape[1:] != (4, 4) or not len(found):
            raise UserError("the file of the poses holds none", "POSES")
        frame = {"unit": self.UNIT, "axes": self.AXES, "world": "ras"}
        frame |= {key: str(said[key]).lower() for key in frame if said.get(key)}
        frame |= {key: value for key in frame if (value := getattr(self, key, None))}
        for key, known in (("unit", list(MM)), ("axes", ["opencv", "opengl"]), ("world", ["ras", "lps"])):
            if frame[key] not in known:
                raise UserError(f"the poses' {key} must be one of {', '.join(known)}, got {frame[key]}", "POSES")
        found = rigid(found)
        found[:, :3, 3] *= MM[frame["unit"]]
        if frame["world"] == "lps":
            found = LPS @ found
        return found @ OPENGL if frame["axes"] == "opengl" else found


def rigid(found: Float[np.ndarray, "N 4 4"]) -> Float[np.ndarray, "N 4 4"]:
    """(N, 4, 4) -> the nearest rotations with their positions; what is further off is refused by its number."""
    if not np.isfinite(found).all():
        number = int(np.flatnonzero(~np.isfinite(found).all((1, 2)))[0]) + 1
        raise UserError(f"pose {number} is not made of finite numbers", "POSES")
    turned = found[:, :3, :3]
    off = np.abs(turned @ turned.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) + np.abs(found[:, 3] - LAST).max(1)
    mirrored = (off <= ROUNDED) & (np.linalg.det(turned) < 0)
    for bad, why in (
        (mirrored, "is no world_from_camera, but mirrored: its axes are left-handed; turn one of them"),
        (off > ROUNDED, "is no world_from_camera: a rotation, a position, last row 0 0 0 1"),
    ):
        if bad.any():
            more = f" ({bad.sum() - 1} more likewise)" if bad.sum() > 1 else ""
            raise UserError(f"pose {int(np.flatnonzero(bad)[0]) + 1} {why}{more}", "POSES")
    rounded = off > 1e-12  # whole ones keep their bytes
    u, _, v = np.linalg.svd(turned[rounded])
    out = found.copy()
    out[rounded, :3, :3], out[:, 3] = u @ v, LAST
    return out


def rows_of(text: str) -> list[list[str]]:
    """Words of every line that is neither empty nor a comment."""
    return [line.replace(",", " ").split() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]


def comments(text: str) -> dict[str, str]:
    """`# unit: mm`, `# world: lps`: what comments say of the frame."""
    return dict(re.findall(r"^\s*#\s*(unit|world|axes)\s*[:=]\s*(\w+)\s*$", text, re.M | re.I))


def by_name(names: list[str]) -> list[int]:
    """The order of names in which 10 comes after 9."""
    keys = [[int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)] for name in names]
    return sorted(range(len(names)), key=lambda n: [(isinstance(p, str), p) for p in keys[n]])


def placed(turned: Float[np.ndarray, "N 3 3"], position: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 4 4"]:
    """(N, 3, 3), (N, 3) -> (N, 4, 4)."""
    out = np.tile(np.eye(4), (len(position), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = turned, position
    return out


def quaternions(xyzw: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 3 3"]:
    """(N, 4) x y z w -> (N, 3, 3). Raises UserError for one that is no unit."""
    from scipy.spatial.transform import Rotation

    norm = np.linalg.norm(xyzw, axis=1)
    if bad := np.flatnonzero(~(np.abs(norm - 1) < 1e-2)).tolist():
        raise UserError(f"pose {bad[0] + 1}: its quaternion has length {norm[bad[0]]:g}, not 1", "POSES")
    return np.asarray(Rotation.from_quat(xyzw).as_matrix())


@pose_files.register("json")
class Json(PoseFile):
    """A list of 4 x 4 lists, alone or under `world_from_camera` (a fit's .poses.json), as JSON; `unit` (mm), `world`
    (ras, lps) and `axes` (opencv, opengl) may stand beside it."""

    axes: Literal["opencv", "opengl"] | None = Field(None, description="of the camera; none: the file's, else opencv")

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        return text.lstrip()[:1] in ("[", "{")

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile."""
        values = json.loads(text)
        said = values if isinstance(values, Mapping) else {}
        found = np.array(values["world_from_camera"] if isinstance(values, Mapping) else values, float)
        return found[None] if found.shape == (4, 4) else found, dict(said)


@pose_files.register("manifest")
class Manifest(PoseFile):
    """manifest.jsonl of a dataset: the views of one patient in their order."""

    patient: str | None = Field(None, description="whose; none: the only one")

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        first = text.lstrip().split("\n", 1)[0]
        return first.startswith("{") and '"world_from_camera"' in first and '"view"' in first

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile."""
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        who = sorted({row["patient"] for row in rows})
        patient = self.patient or (who[0] if len(who) == 1 else None)
        if patient not in who:
            raise UserError(f"the manifest is of {', '.join(who)}: choose with manifest:patient=ALIAS@FILE", "POSES")
        views = {int(row["view"]): row["world_from_camera"] for row in rows if row["patient"] == patient}
        return np.array([views[n] for n in sorted(views)], float), {}


@pose_files.register("nerfstudio")
class Nerfstudio(PoseFile):
    """transforms.json: transform_matrix of each frame, in the order of file_path. Metres and OpenGL axes are the
    format's; applied_transform and applied_scale are undone."""

    UNIT: ClassVar[str] = "m"
    AXES: ClassVar[str] = "opengl"

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        return text.lstrip()[:1] == "{" and '"transform_matrix"' in text

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile."""
        values = json.loads(text)
        frames = values["frames"]
        found = np.array([frame["transform_matrix"] for frame in frames], float)
        if all("file_path" in frame for frame in frames):
            found = found[by_name([str(frame["file_path"]) for frame in frames])]
        found[:, :3, 3] /= float(values.get("applied_scale", 1.0))
        if "applied_transform" in values:
            applied = np.vstack([np.array(values["applied_transform"], float)[:3], LAST])
            found = np.linalg.inv(applied) @ found
        return found, dict(values)


@pose_files.register("colmap")
class Colmap(PoseFile):
    """images.txt: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, camera_from_world, in the order of NAME. Its scale is
    whatever it was aligned to: taken as mm unless `unit` or a comment (`# unit: m`) says otherwise."""

    LINE: ClassVar[str] = r"\s*\d+(?:\s+[-+.\deE]+){7}\s+\d+\s+\S.*"

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        first = next((line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"), "")
        # Its tenth word is a name; sixteen numbers are none.
        return bool(re.fullmatch(cls.LINE, first)) and len(first.replace(",", " ").split()) != 16

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile. Every second line holds points, and may be empty or left out."""
        lines = [line for line in text.splitlines() if line.strip()[:1] != "#"]
        while lines and not lines[-1].strip():
            lines.pop()
        if all(re.fullmatch(self.LINE, line) for line in lines if line.strip()):
            lines = [line for line in lines if line.strip()]
        else:
            lines = lines[::2]
        rows = [line.split(maxsplit=9) for line in lines]
        numbers = np.array([row[1:8] for row in rows], float)
        turned = quaternions(numbers[:, [1, 2, 3, 0]])
        here = -np.einsum("nji,nj->ni", turned, numbers[:, 4:])
        found = placed(turned.transpose(0, 2, 1), here)
        return found[by_name([row[9] for row in rows])], dict(comments(text))


@pose_files.register("tum")
class Tum(PoseFile):
    """`timestamp tx ty tz qx qy qz qw` in each line, world_from_camera, in the order of time. Metres are the format's,
    unless `unit` or a comment (`# unit: mm`) says otherwise."""

    UNIT: ClassVar[str] = "m"

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        rows = rows_of(text)
        return bool(rows) and len(rows[0]) == 8

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile."""
        numbers = np.array(rows_of(text), float).reshape(-1, 8)
        numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
        return placed(quaternions(numbers[:, 4:]), numbers[:, 1:4]), dict(comments(text))


@pose_files.register("matrix")
class Matrix(PoseFile):
    """16 numbers a pose, row by row, separated by commas, blanks or new lines; mm unless `unit` or a comment says
    otherwise. As in C3VD's pose.txt rows may stand transposed: which edge is 0 0 0 1 is looked at."""

    transposed: bool | None = Field(None, description="translation in the last row; none: look at the edges")

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile."""
        rows = rows_of(text)
        return bool(rows) and len(rows[0]) in (4, 16)

    def matrices(self, text: str) -> tuple[Shaped[np.ndarray, " ..."], dict[str, Any]]:
        """See PoseFile."""
        found = np.array([word for row in rows_of(text) for word in row], float).reshape(-1, 4, 4)
        turned = self.transposed
        if turned is None:
            upright, lying = (bool(np.allclose(edge, LAST, atol=1e-6)) for edge in (found[:, 3], found[:, :, 3]))
            if upright and lying:
                raise UserError(
                    "all poses lie at the origin, so that nothing tells rows from columns: give "
                    "matrix:transposed=false@FILE (or true, as in C3VD)",
                    "POSES",
                )
            turned = lying
        return found.transpose(0, 2, 1) if turned else found, dict(comments(text))


@pose_files.register("c3vd")
class C3VD(Matrix):
    """pose.txt of C3VD: 16 numbers a line, transposed as published unless the edges say otherwise; mm."""

    @classmethod
    def fits(cls, text: str) -> bool:
        """See PoseFile. Told from `matrix` by its edges alone, so that it needs to be asked for."""
        return False


ORDER = ("nerfstudio", "manifest", "json", "colmap", "tum", "matrix")  # in which a format is looked for


def read_poses(path: str | Path, chosen: PoseFile | None = None) -> Float64[np.ndarray, "N 4 4"]:
    """(N, 4, 4) world_from_camera of a file, OpenCV axes, RAS mm. chosen: its format; by default it is recognised.

    Raises UserError POSES (NOT_FOUND where there is no such file); neither tells the file's name.
    """
    text = read_text(Path(path))
    found = chosen or next((cls() for cls in map(pose_files.__getitem__, ORDER) if cls.fits(text)), None)  # type: ignore[attr-defined]
    if found is None:
        raise UserError(
            f"the poses are in no known format ({', '.join(pose_files)}): write 4 x 4 numbers a pose, or see "
            "`endorender list poses`",
            "POSES",
        )
    return found.parse(text)


def read_text(path: Path, what: str = "poses") -> str:
    """The text of a file of poses or the like, without its name in any error."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"the file of the {what} is larger than 64 MB", what.upper())
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"the file of the {what} cannot be read: {error.strerror}", "NOT_FOUND") from None
    except UnicodeDecodeError:
        raise UserError(f"the file of the {what} is not a text file", what.upper()) from None
