"""An experiment's answer on disk: tables, figures, one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from endorender.pages import inlined, template
from training import figures
from training.files import command, versions, write_atomic, write_csv
from training.study import Answer, Study

PAGE = "index.html"


def write_answer(study: Study, info: dict[str, Any], answer: Answer, claim: str) -> Path:
    """Writes OUT/tables, the protocol's fingerprint in every row, OUT/figures and OUT/index.html, which is
    self-contained; returns the page. claim: in words."""
    for folder in ("figures", "tables"):
        (study.out / folder).mkdir(exist_ok=True)
    for name, (header, rows) in answer.tables.items():
        write_csv(
            study.out / "tables" / f"{_file(name)}.csv", [*header, "preset", "protocol"],
            [[*row, info["preset"], info["protocol"]] for row in rows],
        )  # fmt: skip
    pictures = {}
    for name, figure in answer.figures.items():
        picture = figures.png(figure)
        write_atomic(study.out / "figures" / f"{_file(name)}.png", picture)
        write_atomic(study.out / "figures" / f"{_file(name)}.pdf", figures.pdf(figure))
        pictures[name] = inlined(picture)
    page = template("training", "experiment.html").render(
        info=info, claim=claim, answer=answer, pictures=pictures, versions=versions(), command=command()
    )
    write_atomic(study.out / PAGE, page)
    return study.out / PAGE


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
