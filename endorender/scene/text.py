"""Small text files that models are given by."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 4_000_000  # every picture's record holds what such a file says


def read_text(file: Path) -> str:
    """The text of a small file; ValueError with one line that does not tell its folder."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"{file.name} is larger than {MOST_BYTES // 1_000_000} MB")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {file.name}: {(error.strerror or 'error').lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file.name} is not a text file") from None
