"""Owner of `ti.init`: chooses the device once per process."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import io
import os
import threading
import warnings
from typing import Any

import numpy as np

from endorender import engine
from endorender.engine import ti
from endorender.errors import Notice, UserError, unknown
from endorender.render.device import cache, offline_cache

_state: dict[str, Any] = {}
_process: dict[str, Any] = {"forked": False}  # folder: where it keeps kernels; thread: the last that started the engine
_OURS = "_endorender"  # on what the engine's start makes

TYPES = {np.dtype(name): getattr(ti, short) for name, short in (
    ("uint8", "u8"), ("int16", "i16"), ("int32", "i32"), ("float32", "f32"), ("float64", "f64"))}  # fmt: skip
ARCHES = {"cpu": ti.cpu, "cuda": ti.cuda, "vulkan": ti.vulkan, "metal": ti.metal}


def best() -> str:
    """The device that `auto` stands for: a card that has its driver here, else the CPU. Vulkan is taken by name only:
    its drivers may well be software."""
    core = ti._lib.core
    ti.set_logging_level(ti.ERROR)  # that a driver is not there is no warning here
    for name in ("cuda", "metal"):
        if getattr(core, f"with_{name}", bool)():
            return name
    return "cpu"


def init(
    device: str = "cpu", threads: int | None = None, registers: int | None = None, profile: bool | None = None
) -> None:
    """Start Taichi on a device; threads: CPU threads (default: all). registers: of a CUDA thread at most (0: as many as
    its compiler likes, the default). profile: whether kernels are timed (Taichi's kernel profiler; by default not).

    A second call for the same device does nothing, unless it asks for something else. Another device starts
    Taichi again, which forgets every compiled kernel. "auto" is `best()`. A device that is not there is an error, never
    another device.
    """
    _refuse_fork()
    if device == "auto":
        device = best()
    asked = {"threads": threads, "registers": registers, "profile": profile}
    if _state.get("device") == device and _ours() and all(v in (None, _state[key]) for key, v in asked.items()):
        return
    if device not in ARCHES:
        raise UserError(unknown("device", device, ARCHES), "UNKNOWN_NAME")
    # Taichi's own optimiser costs five times the compile time of LLVM's and gains nothing measurable here.
    # With fast_math terms are put together anew over a whole kernel: what one expression is rounded to depends on all
    # that stands beside it, and equal tissues by label changed bytes.
    options: dict[str, Any] = {"log_level": ti.ERROR, "advanced_optimization": False, "fast_math": False}
    if threads is not None:
        options["cpu_max_num_threads"] = threads
    if registers is not None:
        options["gpu_max_reg"] = registers
    if profile is not None:
        options["kernel_profiler"] = profile
    if "folder" not in _process:
        _process["folder"] = offline_cache.folder()
        atexit.register(close)
    if _process["folder"] is not None:
        options["offline_cache_file_path"] = str(_process["folder"])
    if engine.started() and not _ours():
        warnings.warn(
            "Taichi had been started by other code, with settings of its own: it is started anew, and that code's "
            "fields are gone (way out: call endorender.render.init in place of ti.init)",
            Notice,
            stacklevel=3,
        )
    # Whether it succeeds or not, what belonged to the last run is gone.
    _end()
    try:
        # The banner: the device is printed by whoever asks.
        with engine.undisturbed(), contextlib.redirect_stdout(io.StringIO()):
            ti.init(
                arch=ARCHES[device],
                enable_fallback=False,
                default_fp=ti.f32,
                default_ip=ti.i32,
                offline_cache=_process["folder"] is not None,
                **options,
            )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"device {device!r} does not work here: {reason[:200]}; `endorender doctor` shows which ones do",
            "NO_DEVICE",
        ) from None
    _state.update(asked, device=device)
    _process["thread"] = threading.current_thread()
    setattr(engine.runtime(), _OURS, True)


def _ours() -> bool:
    """Whether the engine runs as it was started here: other code may have done that, before or since."""
    return hasattr(engine.runtime(), _OURS)


def _end() -> None:
    """End the run, which writes down the kernels that it compiled."""
    ours = bool(_state) and _ours()
    _state.clear()
    cache.forget()
    if ours:
        with engine.undisturbed():
            ti.reset()
    if folder := _process.get("folder"):
        offline_cache.seal(folder)


def close() -> None:
    """Keep compiled kernels for the next run; the renderer may be started again."""
    thread = _process.get("thread")
    if thread is None or _process["forked"]:
        return
    if thread in (threading.current_thread(), threading.main_thread()) or not thread.is_alive():
        _end()


def _in_child() -> None:
    """A fork copies no threads, and the engine would wait for its own for ever."""
    _process["forked"] = engine.started()
    if _process["forked"]:
        # Nor is it ever taken down: that would wait for them too, and the process could not end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine.runtime().prog))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _refuse_fork() -> None:
    if _process["forked"]:
        raise UserError(
            "this process was forked from one in which the renderer had started, and cannot render: start it by "
            "multiprocessing.get_context('spawn')",
            "FORKED",
        )


def spread() -> int:
    """Iterations of a parallel loop for each pixel: all but the first do nothing.

    On a CPU Taichi 1.7.4 gives at least 512 iterations to one thread, whatever `block_dim` says: a short launch would
    leave the other threads idle. So a thread takes eight pixels.
    """
    return 64 if _state.get("device") == "cpu" else 1


def ensure() -> None:
    """Start on the CPU unless a device was chosen. UserError FORKED in a child of a process that renders."""
    _refuse_fork()
    if not _state or not _ours():
        again = {key: _state.get(key) for key in ("threads", "registers", "profile")}
        init(_state.get("device", "cpu"), **again)


def running() -> str | None:
    """The device that Taichi was started on."""
    return _state.get("device")


def resident(array: np.ndarray) -> Any:
    """The array where kernels want it: in place on a CPU, copied once to a GPU.

    Its elements are scalars on both: no kernel may declare an array of vectors. It holds no NaN that a kernel looks
    at: a driver's comparison with NaN may go either way.
    """
    array = np.require(array, requirements=["C", "W"])
    if _state["device"] == "cpu":
        return array
    held = ti.ndarray(dtype=TYPES[array.dtype], shape=array.shape)
    held.from_numpy(array)
    return held


def room(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Where kernels write before they read: resident, with no value at first and never copied."""
    return np.empty(shape, dtype) if _state["device"] == "cpu" else ti.ndarray(dtype=TYPES[dtype], shape=shape)


def fetch(array: Any) -> np.ndarray:
    """A resident array back as numpy; on a CPU the very same memory."""
    return array if isinstance(array, np.ndarray) else array.to_numpy()


def wait() -> None:
    """Until every launched kernel has ended."""
    ti.sync()
