"""Intel Open Image Denoise with noise-free guides (extra `denoise`)."""

from __future__ import annotations

import numpy as np

from endorender.errors import UserError
from endorender.render.guide import Guides


def denoise(image: np.ndarray, guides: Guides) -> np.ndarray:
    """(H, W, 3) linear radiance without its noise, float32.

    The guides are exact, so the filter may lean on them fully. Runs on the CPU, bit-repeatable on one machine.
    Raises UserError MISSING_EXTRA where the library is not installed.
    """
    try:
        import pyoidn
    except ImportError:
        raise UserError("denoising needs the extra: pip install 'endorender[denoise]'", "MISSING_EXTRA") from None
    image, albedo, normal = (
        np.ascontiguousarray(np.nan_to_num(a), np.float32) for a in (image, guides.albedo, guides.normal)
    )
    out = np.empty_like(image)
    with pyoidn.Device(pyoidn.OIDN_DEVICE_TYPE_CPU) as device:
        device.commit()
        run = pyoidn.Filter(device, pyoidn.OIDN_FILTER_TYPE_RT)
        try:
            for name, array in (
                (pyoidn.OIDN_IMAGE_COLOR, image),
                (pyoidn.OIDN_IMAGE_ALBEDO, albedo),
                (pyoidn.OIDN_IMAGE_NORMAL, normal),
                (pyoidn.OIDN_IMAGE_OUTPUT, out),
            ):
                run.set_image(name, array, pyoidn.OIDN_FORMAT_FLOAT3)
            run.set_bool("hdr", True)
            run.set_bool("cleanAux", True)
            run.commit()
            run.execute()
            if (message := device.get_error()) is not None:
                raise RuntimeError(f"Open Image Denoise: {message}")
        finally:
            run.release()
    return np.maximum(out, 0)
