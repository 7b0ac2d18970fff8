"""The page of codes is what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from endorender.ct import CODES

DOCS = Path(__file__).parents[2] / "docs"


def test_table_of_codes_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_ct_codes", DOCS / "make_ct_codes.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    text = maker.PAGE.read_text(encoding="utf-8")
    assert maker.page(text) == text, "run: python docs/make_ct_codes.py"
    assert all(f"| `{code}` |" in text for code in CODES)
