"""The page of a CT: wall, way, cameras along it, and a picture from any of them that gets better while one looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.errors import UserError
from endorender.viewer.controls import Development, Optics
from endorender.viewer.preview import MOST, SIZE, Stage, Worker, enlarged, refined
from endorender.viewer.shapes import wall
from endorender.viewer.stage import CHOSEN, INK, frustum, furnish, orient, said, stand_back, standpoint, step_into

if TYPE_CHECKING:
    import viser

    from endorender.ct import Prepared

APART_MM = 16.0  # between cameras on the way
FEWEST, MOST_CAMERAS = 3, 40
WALL, WAY = (214, 142, 122), (255, 225, 120)
SIDES = {"cut open": "back", "closed": "double"}  # faces look outwards: without the near ones one sees in
PATIENCE = 0.8  # seconds for the last launch on the device to end
HERE = "here"


class AnatomyPage:
    """A prepared CT as a page. `build` once the server is there, `close` at the end."""

    def __init__(self, alias: str, ready: Prepared, device: str):
        from endorender.scene import Pinhole
        from endorender.scene.trajectory import poses

        self.title = f"endorender · {alias}"
        self._ready, self._device = ready, device
        self._mesh = wall(ready.volume, ready.lumen)
        views = int(np.clip(ready.path.length / APART_MM, FEWEST, MOST_CAMERAS))
        # Upright, on the centreline, looking along it: a dataset's cameras stray, these are to be found again.
        self._poses = poses(ready.volume, ready.lumen, ready.path, views, 0, jitter=0.0, roll=0.0, look_aside=0.0)
        # They stand on the path, whose points are evenly spaced.
        nearest = [np.linalg.norm(ready.path.points - at, axis=1).argmin() for at in self._poses[:, :3, 3]]
        self._along = ready.path.along[nearest]
        self._camera = Pinhole(width=SIZE[0], height=SIZE[1])
        self._chosen, self._pose = views // 3, self._poses[views // 3]
        self._lock = threading.Lock()
        self._stage: tuple[Stage, int, str] | None = None  # with the number of its camera and its look
        self._exposure: float | None = None
        self._worker = Worker(self._render, self._say)

    def build(self, server: viser.ViserServer) -> None:
        """Put everything on the page."""
        self._server = server
        furnish(server, self._mesh.vertices)
        orient(server, self._mesh.vertices)
        self._wall: Any = server.scene.add_mesh_simple(
            "/wall", *self._mesh, color=WALL, side="back", cast_shadow=False, receive_shadow=False
        )
        way = self._ready.path
        steps = np.concatenate([np.stack([p[:-1], p[1:]], 1) for p in (way.points[piece] for piece in way.pieces)])
        server.scene.add_line_segments("/way", steps, WAY, thickness=2.5, thickness_units="screen")
        size = float(np.clip(0.45 * np.median(self._ready.path.clearance), 1.5, 8.0))
        self._frusta = []
        for n, pose in enumerate(self._poses):
            self._frusta.append(frustum(server, f"/cameras/{n}", self._camera, pose, size))
            self._frusta[-1].on_click(lambda event, n=n: self._choose(n, event.client))
        self._mark()
        self._add_picture(server.gui)
        self._add_views(server.gui)
        self._add_optics(server.gui)
        server.on_client_connect(lambda client: self._again() if self._stage is None else None)

    def close(self) -> bool:
        """End the rendering; whether it has ended."""
        return self._worker.stop(PATIENCE)

    def _add_picture(self, gui: Any) -> None:
        panel = gui.add_panel()
        with panel.add_tab("Render"):
            self._picture = gui.add_image(
                enlarged(np.full((SIZE[1], SIZE[0], 3), 24, np.uint8)), format="jpeg", jpeg_quality=92
            )
            self._state = gui.add_html(said("waiting"))
        panel.dock_left()
        panel.set_width(400)
        gui.main_panel.dock_right()

    def _add_views(self, gui: Any) -> None:
        with gui.add_folder("View"):
            names = [f"{n}" for n in range(len(self._poses))]
            self._view = gui.add_dropdown(
                "camera", [*names, HERE], initial_value=names[self._chosen], hint="or click a pyramid"
            )
            self._view.on_update(lambda event: self._named(event))
            here = gui.add_button(
                "Render from here", color="gray", hint="from where this page's viewpoint stands, in the lumen"
            )
            here.on_click(lambda event: self._stand_here(event.client))
            back = gui.add_button("Back to the overview", color="gray")
            back.on_click(lambda event: stand_back([event.client], self._mesh.vertices))
            sides = gui.add_dropdown("wall", [*SIDES, "hidden"], initial_value="cut open")

            @sides.on_update
            def _(event: Any) -> None:
                self._wall.visible = sides.value != "hidden"
                self._wall.side = SIDES.get(sides.value, "back")

    def _add_optics(self, gui: Any) -> None:
        from endorender.scene import LOOKS

        optics, looks = Optics(), list(LOOKS)
        own = LOOKS[optics.look]
        with gui.add_folder("Tissue"):
            self._look = gui.add_dropdown("look", looks, initial_value=optics.look)
            self._optics = {
                "absorption": gui.add_slider("absorption ×", 0.25, 4.0, 0.05, 1.0, hint="deeper colour"),
                "density": gui.add_slider(
                    "density ×", 0.25, 4.0, 0.05, 1.0, hint="extinction; lower: more translucent"
                ),
                "specular": gui.add_slider("specular", 0.0, 1.0, 0.01, own.tissue.specular, hint="wet reflections"),
                "roughness": gui.add_slider(
                    "roughness", 0.02, 0.6, 0.01, own.tissue.roughness, hint="GGX α of the coat"
                ),
                "vessels": gui.add_checkbox("vessels and film", True),
            }
        with gui.add_folder("Light"):
            self._optics["strength"] = gui.add_slider(
                "strength, stops", -4.0, 4.0, 0.25, 0.0, hint="seen once exposure is held"
            )
            self._optics["falloff"] = gui.add_slider(
                "fall-off μ", 0.0, 6.0, 0.1, 0.0, hint="exp(−μ (1 − cos θ)) of the guides"
            )
        with gui.add_folder("Picture"):
            self._hold = gui.add_checkbox("hold exposure", False, hint="else automatic, as an endoscope's")
            self._stops = gui.add_slider("exposure, stops", -4.0, 4.0, 0.25, 0.0)
            self._contrast = gui.add_slider("contrast", 0.6, 3.0, 0.05, own.response.contrast)
        for handle in self._optics.values():
            handle.on_update(lambda event: self._again())
        for handle in (self._hold, self._stops, self._contrast):
            handle.on_update(lambda event: self._develop())
        self._look.on_update(lambda event: self._dress())

    def _dress(self) -> None:
        """Another look brings its own coat and contrast."""
        from endorender.scene import LOOKS

        own = LOOKS[self._look.value]
        self._optics["specular"].value = own.tissue.specular
        self._optics["roughness"].value = own.tissue.roughness
        self._contrast.value = own.response.contrast
        self._again()

    def _named(self, event: Any) -> None:
        # Set from here the dropdown has no client, and the choice is made already.
        if event.client is None:
            return
        if self._view.value == HERE:
            self._stand_here(event.client)
        else:
            self._choose(int(self._view.value), event.client)

    def _choose(self, n: int, client: Any) -> None:
        """Step into a camera and show what it sees."""
        self._chosen, self._pose = n, self._poses[n]
        self._view.value = str(n)
        self._mark()
        if client is not None:
            step_into(client, self._camera, self._pose)
        self._again()

    def _stand_here(self, client: Any) -> None:
        self._chosen, self._pose = -1, standpoint(client)
        self._view.value = HERE
        self._mark()
        self._again()

    def _mark(self) -> None:
        for n, handle in enumerate(self._frusta):
            handle.color = CHOSEN if n == self._chosen else INK
            if n != self._chosen and handle.image is not None:
                handle.image = None  # of other settings, by now

    def _again(self) -> None:
        """The picture is another one: render it."""
        self._say(
            "rendering" if self._stage else "starting the renderer; on a new machine its kernels are compiled first"
        )
        self._worker.ask((self._pose, self._chosen, self._wanted()))

    def _wanted(self) -> Optics:
        return Optics(look=self._look.value, **{name: handle.value for name, handle in self._optics.items()})

    def _render(self, wish: tuple[np.ndarray, int, Optics], go_on: Callable[[], None]) -> None:
        """In the worker's thread, the only one that calls Taichi."""
        from endorender.ct.anatomy.lumen import sample
        from endorender.render import init
        from endorender.scene import Scene

        pose, number, optics = wish
        # Air outside the scan is no lumen either: there is 0 HU for this purpose.
        if float(sample(self._ready.volume, self._ready.volume.hu, pose[:3, 3])) >= self._ready.lumen.threshold:
            raise UserError("this viewpoint is not in the lumen: click a pyramid, then move from there", "NOT_IN_LUMEN")
        init(self._device)
        scene = Scene(
            medium=self._ready.volume,
            camera=self._camera,
            world_from_camera=pose,
            lights=(optics.light(),),
            tissue=optics.tissue(),
            threshold=self._ready.lumen.threshold,
            mucosa=optics.mucosa(seed=0),
        )
        for stage in refined(scene, go_on):
            with self._lock:
                self._stage = stage, number, optics.look
            self._develop()

    def _develop(self) -> None:
        """The radiance as far as it is known, through the response as it is set now."""
        with self._lock:
            if self._stage is None:
                return
            stage, number, look = self._stage
            held = self._exposure if self._hold.value else None
            development = Development(look, self._stops.value, held, self._contrast.value)
            response, self._exposure = development.response(stage.radiance, stage.mask)
            picture = response.apply(stage.radiance, mask=stage.mask)
            self._picture.image = enlarged(picture)
            if number >= 0 and number == self._chosen:
                self._frusta[number].image = picture
        where = (
            f"camera {number} at {self._along[number]:.0f} of {self._ready.path.length:.0f} mm" if number >= 0 else HERE
        )
        size = f"{stage.radiance.shape[1]}×{stage.radiance.shape[0]}"
        self._say(f"{where} · {size} · {stage.spp} of {MOST} samples per pixel")

    def _say(self, text: str) -> None:
        if hasattr(self, "_state"):
            self._state.content = said(text)
