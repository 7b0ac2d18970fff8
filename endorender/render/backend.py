"""Owner of `ti.init`: chooses the device once per process."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from endorender.engine import ti
from endorender.errors import UserError, unknown

_state: dict[str, Any] = {}

TYPES = {np.dtype(name): getattr(ti, short) for name, short in (
    ("uint8", "u8"), ("int16", "i16"), ("int32", "i32"), ("float32", "f32"), ("float64", "f64"))}  # fmt: skip
ARCHES = {"cpu": ti.cpu, "cuda": ti.cuda, "vulkan": ti.vulkan, "metal": ti.metal}


def init(device: str = "cpu", threads: int | None = None) -> None:
    """Start Taichi on a device; threads: CPU threads (default: all).

    A second call for the same device does nothing, unless it asks for another number of threads. Another device starts
    Taichi again, which forgets every compiled kernel. A device that is not there is an error, never another device.
    """
    wanted = {"device": device, "threads": threads}
    if _state.get("device") == device and threads in (None, _state["threads"]):
        return
    if device not in ARCHES:
        raise UserError(unknown("device", device, ARCHES), "UNKNOWN_NAME")
    # Taichi's own optimiser costs five times the compile time of LLVM's and gains nothing measurable here.
    options: dict[str, Any] = {"offline_cache": True, "log_level": ti.ERROR, "advanced_optimization": False}
    if threads is not None:
        options["cpu_max_num_threads"] = threads
    from endorender.render import cache

    # Whether it succeeds or not, what belonged to the last run is gone.
    _state.clear()
    cache.forget()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the banner; the device is printed by whoever asks
            ti.init(arch=ARCHES[device], enable_fallback=False, **options)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"device {device!r} does not work here: {reason[:200]}; `endorender doctor` shows which ones do",
            "NO_DEVICE",
        ) from None
    _state.update(wanted)


def spread() -> int:
    """Iterations of a parallel loop for each pixel: all but the first do nothing.

    On a CPU Taichi 1.7.4 gives at least 512 iterations to one thread, whatever `block_dim` says: a short launch would
    leave the other threads idle. So a thread takes eight pixels.
    """
    return 64 if _state.get("device") == "cpu" else 1


def ensure() -> None:
    """Start on the CPU unless a device was chosen."""
    if not _state:
        init()


def running() -> str | None:
    """The device that Taichi was started on."""
    return _state.get("device")


def resident(array: np.ndarray) -> Any:
    """The array where kernels want it: in place on a CPU, copied once to a GPU.

    Its elements are scalars on both: no kernel may declare an array of vectors. It holds no NaN that a kernel looks at:
    Taichi compiles with `fast_math`, under which a comparison with NaN may go either way.
    """
    array = np.require(array, requirements=["C", "W"])
    if _state["device"] == "cpu":
        return array
    held = ti.ndarray(dtype=TYPES[array.dtype], shape=array.shape)
    held.from_numpy(array)
    return held


def fetch(array: Any) -> np.ndarray:
    """A resident array back as numpy; on a CPU the very same memory."""
    return array if isinstance(array, np.ndarray) else array.to_numpy()


def wait() -> None:
    """Until every launched kernel has ended."""
    ti.sync()
