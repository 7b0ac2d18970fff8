"""Decodes compressed frames for decoder.py, in a process of its own that a damaged stream may kill.

Run by its path, it imports nothing of endorender. What comes in on standard input, and out on the first standard
output: a length (4 bytes, little-endian) and as much JSON, then the bytes that the JSON counts.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

FRAME_BYTES, BASE_BYTES, MOST_BYTES = 16, 2**28, 450 * 2**20  # gdcm's wrapper makes a text of what it decodes
CPU_BASE, CPU_FRAME, CPU_PIXEL = 6.0, 0.02, 1e-6  # seconds; a slow machine decodes 5 million pixels in one
WALL = 30.0  # s, for a frame: where the CPU's time cannot be bounded, and for what does not compute but waits


def send(out: IO[bytes], head: dict[str, Any], data: Any = b"") -> None:
    """One message."""
    text = json.dumps(head).encode()
    out.write(len(text).to_bytes(4, "little") + text)
    out.write(data)
    out.flush()


def receive(source: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """One message with `size` bytes after it, or None where the pipe ends."""
    count = source.read(4)
    if len(count) < 4:
        return None
    head = json.loads(source.read(int.from_bytes(count, "little")))
    return head, source.read(head.get("size", 0))


class Limits:
    """Memory and CPU time that grow with what is asked for, where the system knows them."""

    def __init__(self) -> None:
        self._allowed = CPU_BASE + sum(os.times()[:2])
        self._base = 0
        try:
            import resource

            self._resource: Any = resource
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with open("/proc/self/statm") as file:
                self._base = int(file.read().split()[0]) * resource.getpagesize()
        except (ImportError, OSError, ValueError):
            self._resource = None

    def allow(self, pixels: int, size: int) -> None:
        """For one more frame of so many pixels, decoded and encoded `size` bytes."""
        self._allowed += CPU_FRAME + CPU_PIXEL * pixels
        if self._resource is None:
            return
        memory = self._base + min(MOST_BYTES, BASE_BYTES + FRAME_BYTES * size)
        for kind, soft in ((self._resource.RLIMIT_CPU, int(self._allowed) + 1), (self._resource.RLIMIT_AS, memory)):
            _, hard = self._resource.getrlimit(kind)
            self._resource.setrlimit(kind, (soft if hard < 0 else min(soft, hard), hard))


def twelve_bits(frame: bytes, rows: int, columns: int, stored: int, signed: int) -> Any:
    """(rows, columns) integers of a JPEG Extended frame of more than 8 bits, which gdcm decodes and pydicom's gdcm
    plugin refuses. Raises ValueError."""
    import gdcm
    import numpy as np

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, stored, stored - 1, signed))
    text = image.GetBuffer()
    if text is None:
        raise ValueError
    pixels = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.int16 if signed else np.uint16)
    return pixels.reshape(rows, columns)


def main() -> None:
    """Answers until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # codecs print
    os.dup2(silent, 2)
    source = sys.stdin.buffer
    first = receive(source)
    if first is None:
        return
    sys.path[:] = first[0]["path"]

    import faulthandler
    import warnings

    import numpy as np
    import pydicom.config
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    warnings.simplefilter("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    limits = Limits()
    with open(os.devnull, "w") as nowhere:
        while (message := receive(source)) is not None:
            options, frame = message
            syntax = options.pop("syntax")
            del options["size"]
            faulthandler.dump_traceback_later(WALL, exit=True, file=nowhere)
            try:
                pixels = options["rows"] * options["columns"]
                limits.allow(pixels, pixels * options["bits_allocated"] // 8 + len(frame))
                stored, signed = options["bits_stored"], options["pixel_representation"]
                if syntax == JPEGExtended12Bit and stored > 8:
                    array = twelve_bits(frame, options["rows"], options["columns"], stored, signed)
                else:
                    array, _ = get_decoder(syntax).as_array(encapsulate([frame], has_bot=False), raw=True, **options)
                array = np.ascontiguousarray(array)
                send(out, {"shape": array.shape, "dtype": array.dtype.str}, array.data)
            except Exception as error:  # a codec may raise anything; texts of a header stay here
                send(out, {"error": type(error).__name__})
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
