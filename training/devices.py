"""Devices by the names that all of endorender has for them, as torch and Lightning call them."""

from __future__ import annotations

import os
from typing import Any

from endorender.errors import UserError, unknown

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "metal": "mps"}


def torch_device(device: str) -> Any:
    """The torch.device of a name; `auto` is the first card there is, else the CPU. Errors (UserError): as below, and
    UNKNOWN_NAME."""
    import torch

    if device not in ACCELERATORS:
        raise UserError(unknown("device", device, ACCELERATORS), "UNKNOWN_NAME")
    name = accelerator(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


def accelerator(device: str) -> str:
    """Lightning's name of a device. Errors (UserError): NO_DEVICE where torch has none of this kind here."""
    import torch

    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "metal": torch.backends.mps.is_available(),
        "vulkan": False,  # torch trains on none
    }
    if not there[device]:
        able = ", ".join(name for name, found in there.items() if found)
        raise UserError(f"torch {torch.__version__} cannot train on {device} here; it can on: {able}", "NO_DEVICE")
    return ACCELERATORS[device]


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
