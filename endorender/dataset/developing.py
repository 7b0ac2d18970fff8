"""Named camera responses, fixed or drawn, and pictures developed by them from the radiance that a dataset keeps."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset.distributions import drawn, probes, sampler
from endorender.errors import UserError, unknown
from endorender.registry import validated

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

    from endorender.scene import Response

# name -> what it is, and parameters of `Response`, any of which may be a distribution. Whatever is not said has its
# default. `mask` is not the response's but a camera's (its name, or its parameters): of pictures developed anew.
_SENSOR = {"full_well": 10000.0, "read_noise": 5.0}
RESPONSES: dict[str, tuple[str, dict[str, Any]]] = {
    # Percentiles 2, 10, 50, 90, 98 of display luminance that these were fitted to, over views of phantoms and of the
    # airway: real ones are flatter than the four looks of the paper, since exposure control holds the middle up.
    "colonoscope": (
        "exposed and toned as a colonoscope in a silicone colon: 37, 89, 151, 203, 237, near walls burn out",
        {
            "metered": 50,
            "target": 151,
            "contrast": 1.18,
            "hue": 0.6,
            # Warm: what burns out is red, while luminance is at 240.
            "white_balance": [1.4, 1.0, 0.9],
            "white": 0.4,
            "veil": [0.002, 0.002, 0.0015],
            **_SENSOR,
        },
    ),
    "bronchoscope": (
        "as a bronchoscope in a lung: 37, 55, 109, 168, 179, nothing burns out",
        {"metered": 50, "target": 109, "contrast": 1.35, "hue": 0.5, "veil": [0.006, 0.0036, 0.003], **_SENSOR},
    ),
    "sinuscope": (
        "as a rigid scope in a nose: a twentieth below 20, the median at 110, the deep lumen near black",
        {
            "metered": 50,
            "target": 110,
            "contrast": 1.9,
            "hue": 0.2,
            "white": 0.75,
            "veil": [0.004, 0.0008, 0.0004],
            **_SENSOR,
        },
    ),
    "scopes": (
        "drawn anew for every picture: exposure, tone, colour, noise, optics, mask and compression as scopes differ",
        {
            "metered": {"choice": [50, 60, 75]},
            "target": {"uniform": [90, 165]},
            "contrast": {"loguniform": [0.7, 1.8]},
            "hue": {"choice": [0, 0.5, 1]},
            "veil": [{"uniform": [0.002, 0.02]}, {"uniform": [0, 0.006]}, {"uniform": [0, 0.005]}],
            "white_balance": [{"loguniform": [0.85, 1.18]}, 1.0, {"loguniform": [0.85, 1.18]}],
            "full_well": {"loguniform": [1500, 30000]},
            "read_noise": {"uniform": [1, 12]},
            "gamma": {"choice": [None, None, 1.8, 2.0, 2.2, 2.4]},
            "jpeg_quality": {"choice": [None, None, None, None, None, 85, 65, 40]},
            "white": {"choice": [1.0, {"uniform": [0.6, 1.0]}]},
            "vignette": {"uniform": [0, 0.5]},
            "focus": {"loguniform": [6, 30]},
            "aperture": {"choice": [0, 0, {"uniform": [0.05, 0.3]}]},
            "chroma_noise": {"choice": [0, 0, {"uniform": [0, 4]}]},
            "mask": {
                "choice": [
                    "none",
                    "none",
                    "none",
                    {"mask": "corners", "mask_corner": 0.12},
                    {"mask": "corners", "mask_corner": 0.209},
                    {"mask": "corners", "mask_corner": 0.3},
                    {"mask": "octagon", "mask_diameter": 1.0},
                    {"mask": "octagon", "mask_diameter": 1.15},
                    {"mask": "circle", "mask_diameter": 1.0},
                    {"mask": "circle", "mask_diameter": 1.15},
                    {"mask": "circle", "mask_diameter": 1.3},
                ]
            },
        },
    ),
}


def named(value: Any) -> dict[str, Any]:
    """Parameters of a response, fixed or distributions. Raises UserError.

    value: a name of `RESPONSES`, "NAME:key=value,key=value", or a mapping, with `type` if it starts from a name.
    """
    from endorender.dataset.spec import parse_spec

    if isinstance(value, str):
        value = parse_spec(value)
    if not isinstance(value, Mapping):
        raise UserError(f"a response is a name or a mapping of its parameters, got {value!r}", "INVALID_VALUE")
    if "type" not in value:
        return dict(value)
    name = value["type"]
    if not isinstance(name, str) or name not in RESPONSES:
        raise UserError(unknown("response", name, sorted(RESPONSES)), "UNKNOWN_NAME")
    return {**RESPONSES[name][1], **{key: given for key, given in value.items() if key != "type"}}


def checked(value: Any) -> dict[str, Any]:
    """As `named`; raises UserError where an end of a range, or a choice, is nothing that a response or mask takes."""
    spec = named(value)
    for source in probes(spec):
        _built(drawn(spec, source), (8, 8))
    return spec


def _built(values: Mapping[str, Any], size: tuple[int, int]) -> tuple[Response, np.ndarray | None]:
    """The response, and (H, W) bool that the mask lets through, None where there is none."""
    from endorender.scene import Response

    given = {key: value for key, value in values.items() if key != "mask"}
    return validated(Response, given, "response"), _through(values.get("mask", "none"), size)


def _through(mask: Any, size: tuple[int, int]) -> np.ndarray | None:
    if isinstance(mask, str):
        mask = {"mask": mask}
    if not isinstance(mask, Mapping) or not all(str(key).startswith("mask") for key in mask):
        raise UserError(f"a mask is a name or a mapping of a camera's mask, got {mask!r}", "INVALID_VALUE")
    return _visible(tuple(sorted(mask.items())), size)


@functools.lru_cache(maxsize=256)
def _visible(mask: tuple[tuple[str, Any], ...], size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool of a mask in the middle of a picture of (height, width); None: everything is seen."""
    from endorender.scene import cameras

    seen = cameras.build({"type": "pinhole", "height": size[0], "width": size[1], **dict(mask)}).visible()
    seen.flags.writeable = False
    return None if seen.all() else seen


def own_mask(camera: Mapping[str, Any], size: tuple[int, int]) -> Bool[np.ndarray, "H W"] | None:
    """(H, W) bool, what the camera of a manifest's row sees in a picture of (height, width); None: everything."""
    if camera.get("mask", "none") == "none":
        return None
    return _seen(json.dumps(dict(camera), sort_keys=True), size)


@functools.lru_cache(maxsize=256)
def _seen(camera: str, size: tuple[int, int]) -> np.ndarray | None:
    from endorender.scene import cameras

    seen = np.asarray(cameras.build({**json.loads(camera), "height": size[0], "width": size[1]}).visible())
    return None if seen.all() else seen


class Developer:
    """Develops stored radiance anew, each time by another draw from one response.

    value: as `named`. size: (height, width) of the pictures. Pure: what comes out depends on these and the arguments of
    the call alone.
    """

    def __init__(self, value: Any, size: tuple[int, int]):
        self._draw, self._size = sampler(checked(value)), size

    def draw(self, rng: np.random.Generator) -> tuple[Response, Bool[np.ndarray, "H W"] | None]:
        """A response, and (H, W) bool that its mask lets through (None: everything)."""
        return _built(self._draw(rng), self._size)

    def __call__(
        self,
        seed: list[int],
        radiance: Float[np.ndarray, "3 H W"],
        z_depth: Float[np.ndarray, "H W"],
        focal: float,
        own: Bool[np.ndarray, "H W"] | None = None,
    ) -> tuple[UInt8[np.ndarray, "3 H W"], Bool[np.ndarray, "H W"] | None]:
        """Picture (3, H, W) uint8 and what it shows, (H, W) bool (None: everything).

        seed: of the draw and the noise. radiance: (3, H, W). z_depth: (H, W) mm, 0 or NaN where unknown. focal: length
        in pixels. own: (H, W) bool, what the camera saw. A mask that would hide every depth is left out.
        """
        from endorender.scene.quick import develop

        rng = np.random.default_rng(seed)
        response, through = self.draw(rng)
        if through is not None and not (z_depth[through] > 0).any():
            through = None
        seen = through if own is None else own if through is None else own & through
        return develop(radiance, response, rng, seen, z_depth, focal), seen
