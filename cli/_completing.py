"""What a shell offers where a value belongs: registered names, plugins' too, and what a key may be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Offered = Iterable[tuple[str, str]]  # value, and what it is
PHANTOMS = range(1, 10)
DEVICES = ("auto", "cpu", "cuda", "vulkan", "metal")


def named(kind: str, *more: str, after: str = "") -> Complete:
    """Names of `endorender list KIND`, and these. after: the last such sign of what was typed, such as a comma."""
    return _offering(lambda: [*_registered(kind), *((word, "") for word in more)], after)


def words(*known: str, after: str = "") -> Complete:
    """These."""
    return _offering(lambda: [(word, "") for word in known], after)


def of_key(key: str, after: str = "") -> Complete:
    """What this key of `endorender render` may be."""

    def offered() -> Offered:
        from endorender.dataset import RenderConfig

        return [(word, "") for word in _literals(RenderConfig.model_fields[key].annotation)]

    return _offering(offered, after)


def scans(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shipped sample, phantoms, and files."""
    own = [("sample", "the shipped airway"), *((f"phantom:{n}", "a procedural colon") for n in PHANTOMS)]
    return [*_offering(lambda: own)(ctx, parameter, incomplete), CompletionItem(incomplete, type="file")]


def posefiles(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """FORMAT@, and files."""
    formats = _offering(lambda: [(f"{name}@", about) for name, about in _registered("poses")])
    return [*formats(ctx, parameter, incomplete), CompletionItem(incomplete, type="file")]


def looks(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Looks that a fit may start from."""

    def offered() -> Offered:
        from endorender.scene import LOOKS

        return [(name, type(look.tissue).__name__) for name, look in LOOKS.items()]

    return _offering(offered)(ctx, parameter, incomplete)


def kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What can be listed."""

    def offered() -> Offered:
        from cli.list import kinds as known

        return [(kind, "") for kind in known()]

    return _offering(offered)(ctx, parameter, incomplete)


def _offering(offered: Callable[[], Offered], after: str = "") -> Complete:
    """Those that go on what was typed. A package that fails when it is asked for names writes nothing into a prompt."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, sign, begun = incomplete.rpartition(after) if after else ("", "", incomplete)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = [(value, about) for value, about in offered() if value.startswith(begun)]
            except ValueError:  # a UserError, of a plugin
                found = []
        taken = before.split(after) if after else ()
        return [CompletionItem(before + sign + v, help=about or None) for v, about in found if v not in taken]

    return complete


def _registered(kind: str) -> Offered:
    from cli.list import SINGLE, entries

    # What there is one of is listed by its kind's name, which is no value.
    return [(e["name"], e["about"]) for e in entries(kind) if not (kind in SINGLE and e["name"] == kind)]


def _literals(annotation: Any) -> list[str]:
    """Texts of a Literal, in whatever it stands."""
    if isinstance(annotation, str):
        return [annotation]
    return [word for part in get_args(annotation) for word in _literals(part)]
