"""Tags that a slice may do without: read where they are sound, passed over where not."""

from __future__ import annotations

import math
import re
from typing import Any

# A kernel is vendor's free text, where a remark about the patient could stand: only names of these forms pass.
KERNEL = re.compile(r"[A-Z][A-Za-z]{0,2}\d{1,3}[a-z]{0,2}|[A-FL]|[YU][A-F]")
KERNELS = ("STANDARD", "SOFT", "LUNG", "BONE", "BONEPLUS", "DETAIL", "EDGE", "CHEST", "ULTRA")
# Transfer syntaxes that may lose: JPEG, JPEG-LS near-lossless, JPEG 2000 and its high-throughput form (PS3.5, 10).
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 93, 203))


def optional(sources: list[Any], name: str) -> Any:
    """The first value among datasets; None if there is none, or one that pydicom chokes with."""
    for dataset in sources:
        try:
            value = dataset.get(name)
        except Exception:  # what it does not need, a scan may have spoilt
            continue
        if value is not None and value != "":
            return value
    return None


def number(sources: list[Any], name: str) -> float | None:
    try:
        value = float(str(optional(sources, name)))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def moment(groups: list[Any]) -> tuple[float | None, ...]:
    """When a plane was taken, as `phases.MOMENTS` lists."""

    def first(*names: str) -> float | None:
        return next((v for v in (number(groups, name) for name in names) if v is not None), None)

    return (
        first("TemporalPositionIndex", "TemporalPositionIdentifier"),
        first("NominalPercentageOfCardiacPhase"),
        first("TriggerTime"),
        first("FrameAcquisitionNumber", "AcquisitionNumber"),
        first("AcquisitionTime"),
    )


def part(header: Any) -> tuple[str, int, int] | None:
    uid = optional([header], "ConcatenationUID")
    here = whole(optional([header], "InConcatenationNumber"))
    total = whole(optional([header], "InConcatenationTotalNumber"))
    return (str(uid), here, total) if uid is not None and here > 0 else None


def lossy(header: Any) -> bool:
    """What LossyImageCompression (0028,2110) says; where it is silent, whether the transfer syntax may lose."""
    said = str(header.get("LossyImageCompression") or "")
    return said == "01" or (said != "00" and str(header.file_meta.get("TransferSyntaxUID")) in LOSSY)


def whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def facts(groups: list[Any]) -> list[tuple[str, Any]]:
    """The allow-list: kernel, tube voltage, thickness."""
    found: list[tuple[str, Any]] = []
    for name, tag in (("kernel", "ConvolutionKernel"), ("kvp", "KVP"), ("thickness_mm", "SliceThickness")):
        value = next((g.get(tag) for g in groups if g.get(tag) not in (None, "")), None)
        if name == "kernel":
            text = str(value[0] if value and not isinstance(value, str) else value)
            if KERNEL.fullmatch(text) or text in KERNELS:
                found.append((name, text))
            continue
        try:
            figure = float(str(value))
        except ValueError:
            continue
        if math.isfinite(figure):
            found.append((name, figure))
    return found
