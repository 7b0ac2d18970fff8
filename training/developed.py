"""Pictures developed anew at each reading: what `augment.response` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from endorender.dataset.developing import Developer, checked, own_mask
from endorender.errors import UserError
from training.files import derive

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

# A configuration's `response`: its parameters in full, so that a run keeps the ranges that it drew from.
Response = Annotated[dict[str, Any] | None, BeforeValidator(lambda value: None if value is None else checked(value))]


def refuse_without_radiance(frames: Sequence[Any]) -> None:
    """Raise UserError for the first frame that keeps no radiance.

    8 bits are not taken back through an assumed response: what was clipped, compressed or black is lost, and highlights
    and deep lumen are what responses differ in most.
    """
    for frame in frames:
        if "radiance" not in getattr(frame, "files", {}):
            raise UserError(
                f"frame {frame.id} keeps no radiance to develop anew: train on a dataset of `endorender render`, which "
                "does, or leave out augment.response",
                "NO_RADIANCE",
            )


class Developed:
    """How stored radiance becomes another picture at each reading. size: (height, width)."""

    def __init__(self, response: dict[str, Any], seed: int, size: tuple[int, int]):
        self._develop, self._seed, self._size = Developer(response, size), derive(seed, "response"), size

    def __call__(
        self, frame: Any, number: int, radiance: Float[np.ndarray, "3 H W"], z_depth: Float[np.ndarray, "H W"]
    ) -> tuple[UInt8[np.ndarray, "3 H W"], Bool[np.ndarray, "H W"] | None]:
        """Picture (3, H, W) uint8 and what it shows, (H, W) bool (None: everything).

        number: of the reading, step x batch + place in the batch. radiance: (3, H, W). z_depth: (H, W) mm, 0 where
        invalid.
        """
        own = own_mask(frame.camera, self._size)
        return self._develop([self._seed, number], radiance, z_depth, float(frame.K[0][0]), own)
