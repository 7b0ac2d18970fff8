"""Depth of anybody's pictures or video by a trained network.

OUT/settings.json                   what was asked for; `resume` goes on with the same only
OUT/depth/frame_000000.png          16 bits, 0.01 mm a level, 0: no depth
OUT/frames/frame_000000.json        what the picture's files hold, units included; written last of them
OUT/exr/*.exr, OUT/npz/*.npz        float32 mm, NaN: no depth; confidence
OUT/confidence/*.png, points/*.ply  confidence in 8 bits; points in the camera's frame, mm
OUT/preview/*.png                   depth in colours, one scale for all
OUT/side_by_side.mp4                of a video: picture and depth
OUT/predictions.json                the summary; there when all is done

Pictures are numbered from 0 in the order of their names, or as a video shows them; no output has an input's name.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from endorender.dataset.photograph import calibration, points
from endorender.errors import Notice, UserError, unknown
from endorender.outputs import refuse_over, sweep
from training import depth_files as files
from training.files import Progress, fingerprint, versions
from training.predictor import Exported, Predictor, predictor
from training.sources import Folder, Picture, Video, masks, seen_through, source

FORMATS = ("png", "exr", "npz", "preview", "points", "confidence")
OF_VIDEO = ("png", "preview")  # by default: of every frame the others fill disks
SETTINGS, SUMMARY, MOVIE = "settings.json", "predictions.json", "side_by_side.mp4"
FOLDERS = ("depth", "frames", "exr", "npz", "preview", "points", "confidence")
TOLD = 10  # pictures without a depth that are told one by one


def predict(
    run: str | Path | None,
    images: str | Path,
    out: str | Path,
    camera: str | Path | Mapping[str, Any] | None = None,
    formats: Sequence[str] | None = None,
    mask: str = "auto",
    confidence: bool = True,
    input_size: str | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Predicts the depth of every picture and returns `out`.

    run: a run's folder or an ONNX file; None: the network that ships (`training.shipping`). images: a folder of
    pictures or a video (extra `video`). camera: a calibration (docs/fitting.md) or its keys: for points, and for the
    scale at which the network sees; without it that is found by area. formats: of FORMATS; by default all that can be
    made, of a video png and preview. Depth as PNG is always written. mask: "auto" finds the scope's black surround
    (`training.sources.seen_through`), "none" takes every pixel.
    confidence: how far copies agree (`training.predictor.Predictor.depth`). input_size: as in `evaluate`.
    resume: go on; the result has the same bytes as without the interruption, on one device with one number of threads.

    A picture that shows no lumen or cannot be read gets no depth and is told by its number (Notice).

    Errors (UserError): NO_IMAGES, VIDEO, CALIBRATION, MISSING_EXTRA, EXISTS, CHANGED, FOREIGN_FOLDER, NO_DEPTH where
    no picture got one.
    """
    out = Path(out)
    if mask not in ("auto", "none"):
        raise UserError(unknown("mask", mask, ("auto", "none")), "UNKNOWN_NAME")
    chosen = _formats(formats, camera is not None, confidence)
    given = None if camera is None or isinstance(camera, Mapping) else camera
    refuse_over([out], [run, images, given])
    _refuse_full(out, resume)
    network = predictor(run, device)
    frames = source(images, None if progress is None else lambda text: progress(0, 0, text))
    if formats is None and isinstance(frames, Video):
        chosen = [kind for kind in chosen if kind in OF_VIDEO]
    if isinstance(frames, Video) and frames.broken:
        warnings.warn(f"the video is damaged after its frame {len(frames) - 1}: what comes before is read", Notice, 2)
    work = _Work(network, frames, out, camera, chosen, mask, confidence, input_size)
    work.begin(resume)
    todo = {number for number in range(len(frames)) if not work.marker(number).is_file()}
    if todo:
        if progress:
            progress(0, 0, "looking for the scope's mask")
        seen = masks(frames) if mask == "auto" else {}
        # Only what is left is counted: what was done before took no time, and would make the time left too short.
        count = len(todo)
        for picture in frames.read(todo):
            if progress:
                progress(count - len(todo), count, "predicting depth")
            work.one(picture, seen)
            todo.discard(picture.number)
    if todo:
        raise UserError("pictures were taken away while they were read: begin again", "CHANGED")
    work.finish(progress)
    return out


def counted(out: str | Path) -> tuple[int, int]:
    """Pictures with a depth, and all, of a folder that `predict` filled."""
    summary = json.loads((Path(out) / SUMMARY).read_text(encoding="utf-8"))
    return int(summary["with_depth"]), int(summary["pictures"])


def _formats(wanted: Sequence[str] | None, calibrated: bool, confidence: bool) -> list[str]:
    able = {"points": calibrated, "confidence": confidence}
    if wanted is None:
        return [kind for kind in FORMATS if able.get(kind, True)]
    for kind in wanted:
        if kind not in FORMATS:
            raise UserError(unknown("format", kind, FORMATS), "UNKNOWN_NAME")
    if "points" in wanted and not calibrated:
        raise UserError("points need the camera's intrinsics: give --camera", "CALIBRATION")
    if "confidence" in wanted and not confidence:
        raise UserError("confidence was turned off: take it out of --formats", "INVALID_VALUE")
    return [kind for kind in FORMATS if kind in wanted or kind == "png"]


def _refuse_full(out: Path, resume: bool) -> None:
    """Only a new folder, an empty one, or with `resume` one of ours."""
    if out.exists() and not out.is_dir():
        raise UserError("the output is a file: choose another output folder", "FOREIGN_FOLDER")
    sweep(out)
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - {SETTINGS, SUMMARY, MOVIE, *FOLDERS}:
        raise UserError(
            "the output folder holds something other than predictions: choose another output folder", "FOREIGN_FOLDER"
        )
    if names and not resume:
        raise UserError("the output folder is not empty: choose another, or go on with --resume", "EXISTS")


class _Work:
    """The folder that is filled, and what fills it."""

    def __init__(
        self, network: Predictor, frames: Folder | Video, out: Path, camera: Any, formats: Sequence[str], mask: str,
        confidence: bool, input_size: str | None,
    ):  # fmt: skip
        self.network, self.frames, self.out, self.camera = network, frames, out, camera
        self.formats, self.mask, self.confidence, self.input_size = formats, mask, confidence, input_size
        self._cameras: dict[tuple[int, int], Any] = {}
        self._told = 0

    def marker(self, number: int) -> Path:
        """The file that says that a picture is done."""
        return self.path("frames", number, "json")

    def path(self, kind: str, number: int, ending: str) -> Path:
        return self.out / kind / f"frame_{number:06d}.{ending}"

    def calibrated(self, size: tuple[int, int]) -> Any:
        """The camera of pictures of this (height, width), or None."""
        if self.camera is None:
            return None
        if size not in self._cameras:
            self._cameras[size] = calibration(self.camera, size[1], size[0])
        return self._cameras[size]

    def begin(self, resume: bool) -> None:
        """Writes the settings; on going on they must be the same. A calibration is tried on the first picture."""
        every = set(range(len(self.frames)))
        first = next((p for p in self.frames.read(every) if p.image is not None), None)
        camera = None
        if first is not None and first.image is not None:
            camera = self.calibrated((first.image.shape[0], first.image.shape[1]))
            self.network.size((first.image.shape[0], first.image.shape[1]), _focal(camera), self.input_size)
        settings = {
            "schema": 1,
            "weights": self.network.weights,
            "pictures": len(self.frames),
            "pictures_digest": self.frames.identity(),
            "video": isinstance(self.frames, Video),
            "camera_digest": None if camera is None else fingerprint(camera.model_dump(mode="json")),
            "formats": list(self.formats),
            "mask": self.mask,
            "confidence": self.confidence,
            "input_size": self.input_size,
        }
        path = self.out / SETTINGS
        if path.is_file():
            if not resume or path.read_text(encoding="utf-8") != files.text(settings):
                raise UserError(
                    "the predictions were begun with other pictures, network or options: give the same, or another "
                    "output folder",
                    "CHANGED",
                )
            return
        files.write(path, files.text(settings))

    def one(self, picture: Picture, masks: Mapping[tuple[int, int], np.ndarray]) -> None:
        """Every file of a picture but the preview, the one that says so last."""
        number, image = picture.number, picture.image
        if image is None or picture.wrong is not None:
            code, words = picture.wrong or ("DAMAGED", "cannot be read")
            self._tell(f"picture {number} {words}: it gets no depth")
            files.write(self.marker(number), files.text({"number": number, "status": code}))
            return
        size = (image.shape[0], image.shape[1])
        camera = self.calibrated(size)
        seen_at = self.network.size(size, _focal(camera), self.input_size)
        depth, trust = self.network.depth(image, seen_at, self.confidence)
        inside = np.ones(size, bool)
        if self.mask == "auto":
            inside = masks[size] if size in masks else seen_through(image)
        z = np.where(inside, depth, np.nan).astype(np.float32)
        layers = {"z_depth": z}
        if trust is not None:
            layers["confidence"] = np.where(inside, trust, np.nan).astype(np.float32)
        self._layers(number, image, camera, layers)
        files.write(self.marker(number), files.text(self._about(number, camera, seen_at, layers)))

    def _layers(self, number: int, image: np.ndarray, camera: Any, layers: dict[str, np.ndarray]) -> None:
        z, trust = layers["z_depth"], layers.get("confidence")
        k = {} if camera is None else {"K": np.asarray(camera.K, np.float64)}
        files.write(self.path("depth", number, "png"), files.png(files.levels(z)))
        if "exr" in self.formats:
            header = {"unit": "mm", "depth": "along the optical axis"}
            (self.out / "exr").mkdir(exist_ok=True)
            files.write_exr(self.path("exr", number, "exr"), layers, header)
        if "npz" in self.formats:
            files.write(self.path("npz", number, "npz"), files.npz({**layers, "mask": np.isfinite(z), **k}))
        if "confidence" in self.formats and trust is not None:
            pixels = np.rint(255 * np.nan_to_num(trust)).astype(np.uint8)
            files.write(self.path("confidence", number, "png"), files.png(pixels))
        if "points" in self.formats:
            found, there = points(camera, z)
            trusted = None if trust is None else trust[there]
            files.write(self.path("points", number, "ply"), files.ply(found, image[there], trusted))

    def _about(self, number: int, camera: Any, seen: tuple[int, int], layers: dict[str, np.ndarray]) -> dict[str, Any]:
        z = layers["z_depth"]
        valid = z[np.isfinite(z)]
        about: dict[str, Any] = {
            "number": number,
            "status": "done",
            "size": f"{z.shape[1]}x{z.shape[0]}",
            "seen_at": f"{seen[1]}x{seen[0]}",
            "depth": "z, along the optical axis",
            "unit": "mm",
            "png": {"mm_per_level": files.PNG_UNIT_MM, "no_depth": 0},
            "pixels_with_depth": len(valid),
            "pixels_beyond_png": int((valid > files.MOST * files.PNG_UNIT_MM).sum()),
            "depth_mm_2_50_98_percent": [float(f"{v:.6g}") for v in np.percentile(valid, (2, 50, 98))],
        }
        if camera is not None:
            about["K"] = np.asarray(camera.K, float).tolist()
        if (trust := layers.get("confidence")) is not None:
            about["confidence"] = {
                "median": float(f"{np.nanmedian(trust):.4g}"),
                "is": "exp(-s), s the standard deviation of ln depth over four copies (mirrored, darker, brighter)",
                "calibrated": False,
            }
        return about

    def _tell(self, line: str) -> None:
        self._told += 1
        if self._told <= TOLD:
            warnings.warn(line, Notice, stacklevel=4)

    def finish(self, progress: Progress | None) -> None:
        """Previews with one scale for all, the film of a video, and the summary."""
        rows = [self._marked(number) for number in range(len(self.frames))]
        done = [row for row in rows if row["status"] == "done"]
        if (more := self._told - TOLD) > 0:
            warnings.warn(f"{more} more pictures get no depth: see frames/*.json", Notice, stacklevel=3)
        # Nine pictures in ten lie within the colours; one that is far off does not flatten the others.
        top = float(np.percentile([row["depth_mm_2_50_98_percent"][2] for row in done], 90)) if done else 0.0
        if done and "preview" in self.formats:
            for count, row in enumerate(done):
                if progress:
                    progress(count, len(done), "colouring")
                if not (path := self.path("preview", row["number"], "png")).is_file():
                    z = files.read_levels(self.path("depth", row["number"], "png"))
                    files.write(path, files.png(files.coloured(z, top)))
            if isinstance(self.frames, Video) and not (self.out / MOVIE).is_file():
                self._film({row["number"] for row in done}, done[0]["size"], top, progress)
        reasons = sorted({row["status"] for row in rows} - {"done"})
        summary = {
            "schema": 1,
            "pictures": len(rows),
            "with_depth": len(done),
            "without": {code: [row["number"] for row in rows if row["status"] == code] for code in reasons},
            "unit": "mm",
            "png_mm_per_level": files.PNG_UNIT_MM,
            "preview_mm": [0.0, top],
            "camera": self.camera is not None,
            "network": {
                "weights": self.network.weights,
                "from": "onnx" if isinstance(self.network.network, Exported) else "torch",
                "training_scale": None if self.network.scale is None else self.network.scale._asdict(),
            },
            "versions": versions(),
        }
        files.write(self.out / SUMMARY, files.text(summary))
        if not done:
            raise UserError("no picture got a depth: the JSON of each says why", "NO_DEPTH")

    def _marked(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self.marker(number).read_text(encoding="utf-8"))
            if found["status"] == "done":
                float(found["depth_mm_2_50_98_percent"][2])
            return dict(found)
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            raise UserError(f"the JSON of frame {number} is damaged: delete it, and --resume", "DAMAGED") from None

    def _film(self, done: set[int], size: str, top: float, progress: Progress | None) -> None:
        assert isinstance(self.frames, Video)
        width, height = map(int, size.split("x"))
        film = files.SideBySide(self.out / MOVIE, (height, width), self.frames.rate)
        closed = False
        try:
            for picture in self.frames.read(set(range(len(self.frames)))):
                if progress:
                    progress(picture.number, len(self.frames), "filming")
                assert picture.image is not None
                preview = np.full_like(picture.image, files.GREY)
                if picture.number in done:
                    z = files.read_levels(self.path("depth", picture.number, "png"))
                    preview = files.coloured(z, top)
                film.add(picture.image, preview)
            film.close()
            closed = True
        finally:
            if not closed:
                film.discard()


def _focal(camera: Any) -> np.ndarray | None:
    return None if camera is None else np.asarray(camera.K, float)
