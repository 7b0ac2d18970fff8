"""What README and docs name is there: files, headings, commands, options, targets of make."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from cli.main import COMMANDS, main

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)|(?:src|href)=[\"']([^\"']+)[\"']")
# What a shell takes for more than words.
END = re.compile(r"\s(?:\||>|<|&&|&|;|#)(?:\s.*|$)")


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+?) *$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def prose(page: Path) -> str:
    """The page without code, in which brackets are no links."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def code(page: Path) -> list[str]:
    """Lines of code of a page, continued ones joined, and code within its text."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in fenced for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return lines + [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ]


def test_the_architecture_names_files_that_are_there():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = [span for span in re.findall(r"`([\w/]+/(?:\w+\.py)?)`", text) if "/" in span]
    assert len(named) > 30
    roots = [REPOSITORY / part for part in ("", "endorender", "endorender/render")]
    assert not [path for path in named if not any((root / path).exists() for root in roots)]


@pages
def test_every_relative_link_leads_somewhere(page):
    for found in LINK.findall(prose(page)):
        target = unquote(found[0] or found[1])
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert there.resolve().is_relative_to(REPOSITORY), target
        if anchor:
            assert anchor in headings(there.read_text(encoding="utf-8")), target


@pages
def test_every_command_has_the_options_that_are_shown(page):
    for line in code(page):
        words = re.match(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?endorender ([a-z-]+)( .*)?$", line.strip())
        if not words:
            continue
        assert words[1] in COMMANDS, line
        command = main.get_command(click.Context(main), words[1])
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
        given = {
            w.partition("=")[0] for w in shlex.split(END.sub("", words[2] or ""), comments=True) if w.startswith("--")
        }
        assert given <= known, f"{line}: {given - known}"


@pages
def test_every_target_of_make_is_there(page):
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    for line in code(page):
        if words := re.match(r"make ([a-z]+)\b(?!=)", line.strip()):
            assert words[1] in targets, line


@pages
def test_every_file_of_the_repository_that_is_named_is_there(page):
    """Scripts and pages named in code or in brackets: `tests/benchmarks/goals.py`, (rendering.md)."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:docs|tests|endorender|training|cli)/[\w/.-]*\w\.(?:py|md|json|sh|png|jpg))\b", text):
        if page.name != "CHANGELOG.md":
            assert (REPOSITORY / name).is_file(), name
    for name in re.findall(r"[(\s;]([a-z_]+\.md)\b", prose(page)):
        assert (page.parent / name).is_file() or (REPOSITORY / "docs" / name).is_file(), name
