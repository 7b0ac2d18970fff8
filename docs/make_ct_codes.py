"""Writes the table of codes in docs/ct.md from endorender.ct.CODES: python docs/make_ct_codes.py."""

from __future__ import annotations

from pathlib import Path

from endorender.ct import CODES

PAGE = Path(__file__).parent / "ct.md"
BEGIN, END = "<!-- codes: made by docs/make_ct_codes.py -->\n", "<!-- end of codes -->\n"


def table() -> str:
    """Markdown."""
    rows = [f"| `{name}` | {c.seen} | {c.cause} | {c.way_out} |" for name, c in CODES.items()]
    return "\n".join(["| code | what was seen | usual cause | way out |", "| --- | --- | --- | --- |", *rows]) + "\n"


def page(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
