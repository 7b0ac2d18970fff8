"""Parameters of low-rank adapters: part of a training configuration, which loads no torch."""

from __future__ import annotations

from pydantic import Field

from endorender.registry import Model


class Lora(Model):
    """rank: of each adapter; alpha: its output is multiplied by alpha / rank."""

    rank: int = Field(8, ge=1, le=512)
    alpha: float = Field(16.0, gt=0)
