"""Devices by the names that all of endorender has for them, as torch and Lightning call them."""

from __future__ import annotations

from endorender.errors import UserError

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "metal": "mps"}


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
