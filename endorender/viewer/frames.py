"""The page of a dataset: cameras with their pictures, and what they see as points in space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.sheet import colour_depth, depth_range, views_of
from endorender.viewer.colours import Predictions, measures
from endorender.viewer.preview import Worker, enlarged
from endorender.viewer.shapes import cloud
from endorender.viewer.stage import CHOSEN, INK, frustum, furnish, said, stand_back, step_into

if TYPE_CHECKING:
    import viser

    from endorender.dataset import Dataset, Frame

POINTS = 400_000  # of all views together
MOST_CAMERAS = 150  # of a patient; of more views evenly spread ones are shown
THUMBNAIL = 120  # px wide, on a pyramid
PATIENCE = 0.8  # seconds for a file that is being read
ALL, ONE, NONE = "all views", "chosen view", "none"
IMAGE = "image"


class FramesPage:
    """A dataset as a page. `build` once the server is there, `close` at the end."""

    def __init__(self, dataset: Dataset, predictions: Predictions | None = None):
        self.title = "endorender · dataset"
        self._dataset = dataset
        self._top = depth_range(views_of(dataset.frames))
        self._measures = measures(self._top, predictions)
        self._chosen = 0
        self._rows: list[Frame] = []
        self._cameras: dict[int, Any] = {}
        self._thumbnails: dict[int, np.ndarray] = {}
        self._clouds: list[Any] = []
        self._points = np.zeros((1, 3))
        self._drawn: tuple[Any, ...] = ()
        self._marked: tuple[Any, ...] = ()
        self._worker = Worker(self._show, self._say)

    def build(self, server: viser.ViserServer) -> None:
        """Put everything on the page."""
        self._server = server
        gui: Any = server.gui
        panel = gui.add_panel()
        with panel.add_tab("Frame"):
            blank = np.full((3, 4, 3), 24, np.uint8)
            self._picture, self._depth = gui.add_image(blank), gui.add_image(blank)
            self._state = gui.add_html("")
        panel.dock_left()
        panel.set_width(400)
        gui.main_panel.dock_right()
        patients, variations = (self._there(key) for key in ("patient", "variation"))
        with gui.add_folder("Frames"):
            self._patient = gui.add_dropdown("patient", patients, initial_value=patients[0])
            # The synthetic renderer comes first in datasets, and says least to the eye.
            self._variation = gui.add_dropdown(
                "variation", variations, initial_value=variations[min(1, len(variations) - 1)]
            )
            self._view = gui.add_dropdown("view", ["0"], initial_value="0", hint="or click a pyramid")
            back = gui.add_button("Back to the overview", color="gray")
        with gui.add_folder("Points"):
            self._which = gui.add_dropdown("of", [ALL, ONE, NONE], initial_value=ALL)
            self._colour = gui.add_dropdown("coloured by", [IMAGE, *self._measures], initial_value=IMAGE)
            self._scale = gui.add_html("")
            self._size = gui.add_slider("size ×", 0.25, 4.0, 0.25, 1.0)
        self._show(None, lambda: None)
        furnish(server, self._points)
        for handle in (self._patient, self._variation, self._which, self._colour, self._size):
            handle.on_update(lambda event: self._worker.ask(None))
        self._view.on_update(self._named)
        back.on_click(lambda event: stand_back([event.client], self._points))

    def close(self) -> bool:
        """End the reading; whether it has ended."""
        return self._worker.stop(PATIENCE)

    def _there(self, key: str) -> list[str]:
        """Patients or variations of which there are frames, in the dataset's order."""
        found = {getattr(frame, key) for frame in self._dataset.frames}
        return [name for name in self._dataset.info[f"{key}s"] if name in found]

    def _named(self, event: Any) -> None:
        # Set from here the dropdown has no client, and the choice is made already.
        if event.client is not None:
            self._choose(int(self._view.value), event.client)

    def _choose(self, view: int, client: Any) -> None:
        """Step into a camera and show its frame."""
        from endorender.scene import cameras

        for frame in self._rows:
            if frame.view == view:
                self._chosen = view
                self._view.value = str(view)
                step_into(client, cameras.build(frame.camera), np.array(frame.world_from_camera))
                self._worker.ask(None)

    def _show(self, wish: None, go_on: Callable[[], None]) -> None:
        """Bring the page to what its panel says, in the worker's thread."""
        patient, variation = self._patient.value, self._variation.value
        rows = self._dataset.select(patients=[patient], variations=[variation])
        rows = rows[:: max(1, -(-len(rows) // MOST_CAMERAS))]
        if not rows:
            self._say(f"{patient} has no frame in {variation} yet")
            return
        moved = bool(self._rows) and rows[0].patient != self._rows[0].patient
        if [f.id for f in rows] != [f.id for f in self._rows]:
            self._draw_cameras(rows, go_on)
        frame = next(f for f in rows if f.view == self._chosen)
        chosen = {ALL: rows, ONE: [frame], NONE: []}[self._which.value]
        asked = ([f.id for f in chosen], self._colour.value, self._size.value)
        if asked != self._drawn:
            self._draw_points(chosen, go_on)
            self._drawn = asked
        self._mark(frame)
        self._picture.image = enlarged(frame.image())
        self._depth.image = enlarged(colour_depth(frame.geometry()["z_depth"], self._top))
        sampled = f"{frame.spp} samples per pixel" if frame.spp else "synthetic"
        self._say(f"{frame.id} · {sampled} · z-depth 0 to {self._top:g} mm")
        if moved:
            stand_back(self._server.get_clients().values(), self._points)

    def _draw_cameras(self, rows: Sequence[Frame], go_on: Callable[[], None]) -> None:
        from PIL import Image

        from endorender.scene import cameras

        for handle in [*self._cameras.values(), *self._clouds]:
            handle.remove()
        self._cameras, self._thumbnails, self._clouds, self._rows = {}, {}, [], []
        self._drawn = self._marked = ()
        places = np.array([f.world_from_camera for f in rows])[:, :3, 3]
        size = _apart(places)
        for frame in rows:
            go_on()
            picture = Image.fromarray(frame.image())
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            self._thumbnails[frame.view] = np.asarray(picture)
            camera, pose = cameras.build(frame.camera), np.array(frame.world_from_camera)
            handle = frustum(self._server, f"/cameras/{frame.view}", camera, pose, size, self._thumbnails[frame.view])
            handle.on_click(lambda event, view=frame.view: self._choose(view, event.client))
            self._cameras[frame.view] = handle
        if self._chosen not in self._cameras:
            self._chosen = rows[0].view
        self._view.options = [str(f.view) for f in rows]
        self._view.value = str(self._chosen)
        self._rows = list(rows)
        self._points = places if len(places) > 1 else places + np.array([[-5.0] * 3, [5.0] * 3])

    def _mark(self, frame: Frame) -> None:
        """The chosen camera in its colour, with the whole picture: one that is stepped into fills the page.

        Unless points are coloured by something else: the picture would hide them.
        """
        wanted = (frame.id, self._colour.value == IMAGE)
        if wanted == self._marked:
            return
        for view, handle in self._cameras.items():
            handle.color = CHOSEN if view == frame.view else INK
            if handle.image is not self._thumbnails[view]:
                handle.image = self._thumbnails[view]
        self._cameras[frame.view].image = frame.image() if wanted[1] else None
        self._marked = wanted

    def _draw_points(self, frames: Sequence[Frame], go_on: Callable[[], None]) -> None:
        values, scale = self._measures.get(self._colour.value, (None, None))
        self._scale.content = "" if scale is None else scale.html()
        for handle in self._clouds:
            handle.remove()
        self._clouds = []
        following = {f.view - 1: f for f in self._rows}
        pixels = sum(int(f.camera["width"]) * int(f.camera["height"]) for f in frames)
        stride = max(1, int(np.ceil(np.sqrt(pixels / POINTS))))
        seen = []
        for frame in frames:
            go_on()
            points, where = cloud(frame, stride)
            colours = frame.image()[where]
            if values is not None and scale is not None:
                # Points of which nothing is known would hide those of other views.
                found = values(frame, following.get(frame.view))[where]
                points, colours = points[np.isfinite(found)], scale.paint(found[np.isfinite(found)])
            if not len(points):
                continue
            # As wide as the pixels between them are apart on a wall that faces the camera.
            gap = stride * float(np.nanmedian(frame.geometry()["z_depth"])) / np.asarray(frame.K)[0, 0]
            handle = self._server.scene.add_point_cloud(
                f"/points/{frame.view}",
                points,
                colours,
                point_size=self._size.value * gap,
                point_shape="circle",
                point_shading="flat",
                precision="float32",  # half floats lie 0.1 mm apart at 200 mm
            )
            self._clouds.append(handle)
            seen.append(points[:: max(1, len(points) // 2000)])
        if seen:
            self._points = np.concatenate(seen)
        elif frames:
            self._scale.content += "<div style='padding: 0 1em'>Nothing is known of these views.</div>"

    def _say(self, text: str) -> None:
        self._state.content = said(text)


def _apart(places: np.ndarray) -> float:
    """Size of cameras, mm, so that those at (N, 3) places can be told apart."""
    if len(places) < 2:
        return 3.0
    return float(np.clip(0.35 * np.median(np.linalg.norm(np.diff(places, axis=0), axis=1)), 1.0, 6.0))
