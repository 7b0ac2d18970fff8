"""`endorender list`: what is registered, with its parameters."""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import click

from cli import _completing as completing
from endorender.errors import UserError, unknown


@click.command("list")
@click.argument("kind", required=False, shell_complete=completing.kinds)
@click.option("--json", "as_json", is_flag=True, help="For programs: all that is known, with defaults and limits.")
def command(kind: str | None, as_json: bool) -> None:
    """Names of a KIND (camera, light, model, phase, preset, response, tissue ...) with their parameters.

    Example: endorender list tissue
    """
    import json

    if as_json:
        found = entries(kind) if kind else {name: entries(name) for name in kinds()}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if kind is None:
        click.echo("\n".join(kinds()))
        return
    found = entries(kind)
    if not found:
        click.echo(f"no {kind} ships with this version")
    for entry in found:
        click.echo(f"{click.style(entry['name'], bold=True)}  {entry['about']}")
        for line in lines(entry):
            click.echo(f"    {line}")
        if "card" in entry:
            click.echo(f"\n{entry['card']}")


# What there is one of.
SINGLE = {
    "response": ("endorender.scene", "Response"),
    "trajectory": ("endorender.dataset.viewpoint", "Trajectory"),
}
Entry = dict[str, Any]  # name, about, and parameters: each with name, default, about; or variations of a preset


def kinds() -> list[str]:
    """Kinds that can be listed."""
    from endorender.registry import REGISTRIES

    _load()
    return sorted([*REGISTRIES, "network", "preset", *SINGLE])


def entries(kind: str) -> list[Entry]:
    """Everything of this kind, JSON-ready: what it is and all its parameters with their defaults and limits."""
    from endorender.registry import REGISTRIES

    if kind not in kinds():
        raise UserError(unknown("kind", kind, kinds()), "UNKNOWN_NAME")
    if kind == "preset":
        return _presets()
    if kind == "network":
        return _networks()
    if kind in SINGLE:
        module, name = SINGLE[kind]
        cls = getattr(importlib.import_module(module), name)
        return [{"name": kind, "about": _about(cls), "parameters": parameters(cls)}, *NAMED.get(kind, list)()]
    registry = REGISTRIES[kind]
    return [
        {"name": name, "about": _about(registry[name]), "parameters": parameters(registry[name])} for name in registry
    ]


def _load() -> None:
    """Import the modules that register something; none of them loads Taichi or torch."""
    for module in (
        "endorender.dataset.layouts",
        "endorender.scene",
        "endorender.render.integrators",
        "training.models",
        "training.losses",
    ):
        importlib.import_module(module)
    for module in ("training.protocols", "training.baselines"):
        importlib.import_module(module)


def _presets() -> list[Entry]:
    from endorender.dataset import PRESETS
    from endorender.dataset.variation import DESCRIPTIONS, SETTINGS

    found = []
    for name, columns in PRESETS.items():
        about = f"{DESCRIPTIONS[name]}; {len(columns)} variation{'s' if len(columns) > 1 else ''} of every view"
        said = [{"name": v.name, **v.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)} for v in columns]
        found.append({"name": name, "about": about, "variations": said, **SETTINGS.get(name, {})})
    return found


def _networks() -> list[Entry]:
    """The network that ships with this version, if one does."""
    from training.shipping import NAME, card, ships

    return [{"name": NAME, "about": card().split("\n")[0].lstrip("# "), "card": card()}] if ships() else []


def _responses() -> list[Entry]:
    from endorender.dataset.developing import RESPONSES

    return [
        {"name": name, "about": about, "parameters": [{"name": key, "default": v} for key, v in values.items()]}
        for name, (about, values) in RESPONSES.items()
    ]


NAMED = {"response": _responses}  # what there is one of, with parameters by names


def _about(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n")[0]


def parameters(cls: Any) -> list[dict[str, Any]]:
    if not hasattr(cls, "model_fields"):
        signature = inspect.signature(cls).parameters.values()
        return [{"name": p.name} | ({} if p.default is p.empty else {"default": p.default}) for p in signature]
    found = []
    for name, field in cls.model_fields.items():
        if field.exclude:
            continue
        default = {} if field.is_required() else {"default": _plain(field.get_default(call_default_factory=True))}
        limits = {
            word: getattr(m, word)
            for m in field.metadata
            for word in ("gt", "ge", "lt", "le", "multiple_of")
            if getattr(m, word, None) is not None
        }
        found.append({"name": name, **default, **limits, "about": field.description or ""})
    return found


def _plain(value: Any) -> Any:
    """Models as mappings with their type, the rest as JSON has it."""
    from endorender.registry import REGISTRIES

    for registry in REGISTRIES.values():
        if registry.holds(value):
            return registry.dump(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return json.loads(json.dumps(value, default=repr))


SAID = ("ct", "views", "size", "spp", "denoise", "camera", "trajectory")  # of a preset, besides its variations
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "a multiple of"}


def lines(entry: Entry) -> list[str]:
    """`    fov = 100.0  full horizontal angle, degrees (> 0, < 180)` for every parameter or variation."""
    out = []
    for p in entry.get("parameters", ()):
        limits = ", ".join(f"{sign} {p[word]:g}" for word, sign in SIGNS.items() if word in p)
        given = f" = {_text(p['default'])}" if "default" in p else ""
        about = " ".join(part for part in (p.get("about", ""), f"({limits})" if limits else "") if part)
        out.append(f"{p['name']}{given}  {about}".rstrip())
    for v in entry.get("variations", ()):
        said = ", ".join(f"{key} {_text(value)}" for key, value in v.items() if key != "name")
        out.append(f"{v['name']}  {said}".rstrip())
    out += [f"{key}: {_text(entry[key])}" for key in SAID if key in entry]
    return out


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
