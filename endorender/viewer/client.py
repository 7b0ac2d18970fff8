"""Which scripts viser's client consists of: the browser is told their hashes, and runs no other.

viser 1.1 serves one page. Its only script unpacks what the script's own data attributes hold (numbers to base 88,
compressed by Zstandard: a style sheet of `ss` bytes, then a script of `cs`) and adds the result as an inline script.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re

DIGITS = "!#$%()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_abcdefghijklmnopqrstuvwxyz{|}~"
MOST = 64_000_000  # bytes unpacked


@functools.lru_cache(maxsize=1)
def hashes(page: bytes) -> tuple[str, ...] | None:
    """`'sha256-...'` of each script that the page runs, for a content security policy; None where the page is packed
    otherwise, by another viser."""
    try:
        import zstandard

        found = re.findall(r"<script\b([^>]*)>(.*?)</script>", page.decode(), re.DOTALL)
        ((attributes, script),) = found
        held = dict(re.findall(r'data-(\w+)="([^"]*)"', attributes))
        packed = _bytes(html.unescape(held["p"]))
        whole = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MOST)
        style, code = int(held["ss"]), int(held["cs"])
        if style + code != len(whole):
            return None
    except (ImportError, ValueError, KeyError, RuntimeError):
        return None
    except Exception as error:  # zstandard's own, which is known only once it is there
        if type(error).__name__ != "ZstdError":
            raise
        return None
    return _hash(script.replace("\r\n", "\n").encode()), _hash(whole[style:])


def _hash(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


def _bytes(text: str) -> bytes:
    """Four bytes from every five digits; the last group may be shorter."""
    values = {digit: n for n, digit in enumerate(DIGITS)}
    groups = (text[at : at + 5] for at in range(0, len(text), 5))
    return b"".join(
        functools.reduce(lambda value, digit: value * len(DIGITS) + values[digit], group, 0).to_bytes(
            len(group) - 1, "big"
        )
        for group in groups
    )
