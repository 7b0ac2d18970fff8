"""An experiment's answer on disk: tables, figures, one page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import figures
from training.files import command, versions, write_atomic
from training.report import template

if TYPE_CHECKING:
    from training.study import Answer, Study

PAGE = "index.html"


def write_answer(study: Study, info: dict[str, Any], answer: Answer) -> Path:
    """Writes OUT/tables, OUT/figures and OUT/index.html, which is self-contained; returns the page."""
    from training.experiments import EXPERIMENTS, tables_of

    for folder in ("figures", "tables"):
        (study.out / folder).mkdir(exist_ok=True)
    tables_of(study, info, answer)
    pictures = {}
    for name, figure in answer.figures.items():
        file = "".join(c if c.isalnum() else "-" for c in name)
        picture = figures.png(figure)
        write_atomic(study.out / "figures" / f"{file}.png", picture)
        write_atomic(study.out / "figures" / f"{file}.pdf", figures.pdf(figure))
        pictures[name] = "data:image/png;base64," + base64.b64encode(picture).decode()
    page = template("experiment.html").render(
        info=info, claim=EXPERIMENTS[study.name].__doc__, answer=answer, pictures=pictures, versions=versions(),
        command=command(),
    )  # fmt: skip
    write_atomic(study.out / PAGE, page)
    return study.out / PAGE
