"""Intel Open Image Denoise with noise-free guides (extra `denoise`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from endorender.errors import UserError


@dataclass(frozen=True)
class Guides:
    """Means over each pixel, without noise; where a place of it meets no wall, that counts as 0.

    albedo: (H, W, 3) of the wall's tissue, the mucosa layer included. normal: (H, W, 3), camera frame, shorter than 1
    where it turns within the pixel.
    """

    albedo: np.ndarray
    normal: np.ndarray


def denoise(image: np.ndarray, guides: Guides, mirrored: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) linear radiance without its noise, float32.

    mirrored: (H, W, 3) the part of it that the coat mirrors, if it is known (`components.in_parts`): it is filtered by
    itself and without guides, which know nothing of it, and stays sharper. The rest leans on the guides fully: they
    are exact. Runs on the CPU, bit-repeatable on one machine.
    Raises UserError MISSING_EXTRA where the library is not installed.
    """
    if mirrored is not None:
        return denoise(np.maximum(image - mirrored, 0), guides) + _filtered({"color": mirrored})
    return _filtered({"color": image, "albedo": guides.albedo, "normal": guides.normal})


def _filtered(layers: dict[str, np.ndarray]) -> np.ndarray:
    """What the filter makes of `color`, with `albedo` and `normal` where they are given; each (H, W, 3)."""
    try:
        import pyoidn
    except ImportError:
        raise UserError("denoising needs the extra: pip install 'endorender[denoise]'", "MISSING_EXTRA") from None
    layers = {name: np.ascontiguousarray(np.nan_to_num(a), np.float32) for name, a in layers.items()}
    layers["output"] = out = np.empty_like(layers["color"])
    with pyoidn.Device(pyoidn.OIDN_DEVICE_TYPE_CPU) as device:
        device.commit()
        run = pyoidn.Filter(device, pyoidn.OIDN_FILTER_TYPE_RT)
        try:
            for name, array in layers.items():
                run.set_image(getattr(pyoidn, f"OIDN_IMAGE_{name.upper()}"), array, pyoidn.OIDN_FORMAT_FLOAT3)
            run.set_bool("hdr", True)
            run.set_bool("cleanAux", "albedo" in layers)
            run.commit()
            run.execute()
            if (message := device.get_error()) is not None:
                raise RuntimeError(f"Open Image Denoise: {message}")
        finally:
            run.release()
    return np.maximum(out, 0)
