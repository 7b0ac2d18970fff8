"""A picture that is there at once and gets better for as long as nobody asks for another one."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from endorender.errors import UserError

if TYPE_CHECKING:
    from endorender.scene import Scene

SIZE = (320, 240)
ROUGH = ((4, 1), (2, 1))  # the first pictures: by how much smaller, samples per pixel
SHOWN = 380  # px, width of a picture in a panel
MOST = 64  # samples per pixel after which the picture is left as it is


class Superseded(Exception):
    """Something newer was asked for."""


class Worker:
    """One thread that does what it was asked last. Taichi wants all its calls from one thread: this is it.

    work(wish, go_on): `go_on()` raises Superseded once there is a newer wish, or the thread shall end.
    failed(message): told of a UserError; any other error is a bug, is printed, and is told by its kind.
    """

    def __init__(self, work: Callable[[Any, Callable[[], None]], None], failed: Callable[[str], None]):
        self._work, self._failed = work, failed
        self._changed = threading.Condition()
        self._wishes: list[Any] = []
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="render", daemon=True)
        self._thread.start()

    def ask(self, wish: Any) -> None:
        """Do this next, and stop what is being done."""
        with self._changed:
            self._wishes = [wish]
            self._changed.notify()

    def stop(self, patience: float) -> bool:
        """End the thread; whether it did within so many seconds."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _go_on(self) -> None:
        if self._wishes or self._ended:
            raise Superseded

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wishes or self._ended)
                if self._ended:
                    return
                wish = self._wishes.pop()
            try:
                self._work(wish, self._go_on)
            except Superseded:
                continue
            except UserError as error:
                self._failed(str(error))
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                self._failed(f"a bug: {type(error).__name__}; the terminal shows where")


class Stage(NamedTuple):
    """radiance: (h, w, 3) linear, as far as it is known. mask: (h, w) bool, what the camera sees. spp: samples."""

    radiance: np.ndarray
    mask: np.ndarray
    spp: int


def refined(scene: Scene, go_on: Callable[[], None], most: int = MOST) -> Iterator[Stage]:
    """Ever better pictures of a scene: small and noisy first, then at its camera's size with twice the samples each.

    go_on: called several times a second; what it raises ends the work. Denoised where the filter is installed.
    """
    from endorender.render import guides, in_parts

    def traced(scene: Scene, spp: int, frame: int) -> np.ndarray:
        """(2, H, W, 3): all light, and what the coat mirrors of it."""
        light, mirrored = in_parts([scene], spp, seed=0, frame=frame, progress=lambda done: go_on())[0]
        return np.stack([light.mean, np.zeros_like(light.mean) if mirrored is None else mirrored])

    for divisor, spp in ROUGH:
        small = scene.camera.resized(scene.camera.width // divisor, scene.camera.height // divisor)
        rough = scene.with_(camera=small)
        yield Stage(_filtered(traced(rough, spp, 0), guides([rough])[0]), small.visible(), spp)
        go_on()
    guide, mask = guides([scene])[0], scene.camera.visible()
    total, taken = np.zeros((2, scene.camera.height, scene.camera.width, 3)), 0
    while taken < most:
        batch = min(max(taken, 1), most - taken)
        # Batches of one view with numbers of their own: `frame` is part of the key of the random numbers.
        total += batch * traced(scene, batch, taken + 1)
        taken += batch
        yield Stage(_filtered((total / taken).astype(np.float32), guide), mask, taken)
        go_on()


def _filtered(light: np.ndarray, guide: Any) -> np.ndarray:
    """light: (2, H, W, 3), from `traced`."""
    from endorender.render import denoise

    try:
        return denoise(light[0], guide, light[1])
    except UserError as error:
        if error.code != "MISSING_EXTRA":
            raise
        return light[0]


def enlarged(picture: np.ndarray, width: int = SHOWN) -> np.ndarray:
    """(h, w, 3) uint8, at least so wide: pages show pictures pixel by pixel, and jump where their size changes."""
    from PIL import Image

    h, w, _ = picture.shape
    if w >= width:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, round(h * width / w)), Image.Resampling.BICUBIC))
