"""The reference's pages, out of docstrings, registries and the command line; `make site` calls it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOMS = {
    "endorender.ct": "CT in",
    "endorender.scene": "Scenes",
    "endorender.render": "Light transport",
    "endorender.dataset": "Datasets",
    "endorender.inverse": "Gradients and fits",
}
TRAINING = {
    "training.trainer": ("train",),
    "training.config": ("TrainConfig",),
    "training.augment": ("Augment",),
    "training.data": ("DepthFrames", "FrameSet"),
    "training.rates": ("find_rate", "Rates"),
    "training.views": ("torch_frames", "TorchFrames"),
    "training.evaluate": ("evaluate",),
    "training.compare": ("Evaluation", "load_evaluation", "sections"),
    "training.figures": ("pictures", "against", "by_condition", "without_network", "paired", "convergence"),
    "training.report": ("report",),
    "training.predict": ("predict",),
    "training.predictor": ("Predictor", "predictor"),
    "training.export": ("export_model",),
    "training.averaging": ("average",),
    "training.experiments": ("experiment",),
}


def write(folder: Path) -> None:
    """All pages into the folder; those that would not change are left, so that nothing is built again for them."""
    pages = {"index": index(), "commands": commands(), "models": models(), "codes": codes()}
    for name, title in ROOMS.items():
        module = importlib.import_module(name)
        pages[name] = f"# {title}: `{name}`\n\n" + body([(name, one) for one in module.__all__])
    taken = [(module, one) for module, names in TRAINING.items() for one in names]
    pages["training"] = "# Networks: `training`\n\n" + body(taken)
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def index() -> str:
    """The table of contents."""
    return "# Reference\n\n```{toctree}\n" + "\n".join(["commands", "models", *ROOMS, "training", "codes"]) + "\n```\n"


def body(names: list[tuple[str, str]]) -> str:
    """Sections of public names: signature and docstring."""
    return "\n".join(section(module, name) for module, name in names)


def section(module: str, name: str) -> str:
    """One name. Docstrings are Markdown but for line ends that mean something."""
    thing = getattr(importlib.import_module(module), name)
    head = f"## {name}\n\n"
    if inspect.ismodule(thing):
        inside = [
            n
            for n, f in vars(thing).items()
            if inspect.isfunction(f) and f.__module__ == thing.__name__ and n[0] != "_"
        ]
        return (
            head
            + words(thing)
            + "".join(signature(f"{name}.{n}", getattr(thing, n)) + words(getattr(thing, n)) for n in inside)
        )
    if not callable(thing) or not inspect.getdoc(thing):
        about = (
            "a registry; see [models](models.md)" if type(thing).__name__.endswith("Registry") else type(thing).__name__
        )
        return head + f"`{module}.{name}`: {about}.\n\n"
    text = head + signature(name, thing) + words(thing)
    if inspect.isclass(thing):
        for key, member in vars(thing).items():
            function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            if key[0] != "_" and inspect.isfunction(function) and inspect.getdoc(function) and "core_schema" not in key:
                text += signature(f"{name}.{key}", function) + words(function)
    return text


def signature(name: str, thing: Any) -> str:
    """As code; models of pydantic have too many parameters for a line, and a table of them below."""
    if hasattr(thing, "model_fields"):
        return f"```python\n{name}(...)\n```\n\n" + fields(thing)
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError):
        return f"```python\n{name}(...)\n```\n\n"
    given = [parameter(p) for p in found.parameters.values()]
    gives = found.return_annotation
    back = "" if inspect.isclass(thing) or gives is found.empty else f" -> {plain(gives)}"
    line = f"{name}({', '.join(given)}){back}"
    if len(line) > 90:
        line = f"{name}(\n" + "".join(f"    {text},\n" for text in given) + f"){back}"
    return f"```python\n{line}\n```\n\n"


def parameter(p: inspect.Parameter) -> str:
    """`name: type = default`."""
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    kind = "" if p.annotation is p.empty else f": {plain(p.annotation)}"
    value = "" if p.default is p.empty else f" = {p.default!r}"
    if "<" in value:  # what no source could hold
        value = " = ..."
    return f"{stars}{p.name}{kind}{value}"


def plain(annotation: Any) -> str:
    """As it is written in the source."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = str(getattr(annotation, "__forward_arg__", annotation)).strip("'")
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", text)


def fields(model: Any) -> str:
    """A table of a model's parameters."""
    from cli.list import parameters

    return table(parameters(model))


def table(parameters: list[dict[str, Any]]) -> str:
    """Of parameters as `endorender list --json` tells them."""
    rows = [f"| `{p['name']}` | {default(p)} | {escaped(p.get('about', ''))} |" for p in parameters]
    return "\n".join(["| parameter | default | |", "| --- | --- | --- |", *rows]) + "\n\n" if rows else ""


def default(parameter: dict[str, Any]) -> str:
    """As code, cut where it is long."""
    if "default" not in parameter:
        return ""
    text = str(parameter["default"]).replace("|", "\\|").replace("`", "")
    return f"`{text if len(text) < 60 else text[:57] + '...'}`" if text else "empty"


def escaped(text: str) -> str:
    """In a cell, where `<` would begin HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def words(thing: Any) -> str:
    """The docstring, its line ends kept where a line begins a term (`name: what it is`)."""
    found = inspect.getdoc(thing) or ""
    paragraphs = []
    for paragraph in found.split("\n\n"):
        lines: list[str] = []
        for line in paragraph.splitlines():
            begins = re.match(r"[\w, ]{1,40}: ", line) and lines
            lines.append(("\n\n" if begins else " " if lines else "") + line.strip())
        paragraphs.append("".join(lines))
    text = "\n\n".join(paragraphs)
    # Outside code, characters of mathematics that Markdown would take for its own.
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([*_<\[\]|$])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts) + "\n\n"


def commands() -> str:
    """Every command's help."""
    import click

    from cli.main import COMMANDS, main

    context = click.Context(main, info_name="endorender")
    text = ["# Commands", ""]
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        told = command.get_help(
            click.Context(command, info_name=f"endorender {name}", terminal_width=96, max_content_width=96)
        )
        text += [f"## {name}", "", f"```text\n{told}\n```", ""]
    return "\n".join(text)


def models() -> str:
    """Every registry with its models' parameters."""
    from cli.list import entries, kinds

    text = [
        "# Models",
        "",
        "What configurations, `--help` and Python know by name; `endorender list KIND` shows the same.",
        "",
    ]
    for kind in kinds():
        text += [f"## {kind}", ""]
        for entry in entries(kind):
            text += [f"**{entry['name']}**: {escaped(entry['about'])}", "", table(entry.get("parameters", []))]
    return "\n".join(text)


def codes() -> str:
    """Codes of refusals and the sentences that carry them, read from the sources."""
    found: dict[str, list[str]] = {}
    for path in sorted(p for room in ("endorender", "training", "cli") for p in (ROOT / room).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or len(call.args) != 2 or not isinstance(call.args[1], ast.Constant):
                continue
            if getattr(call.func, "id", getattr(call.func, "attr", "")) in ("UserError", "CTError"):
                found.setdefault(str(call.args[1].value), []).append(sentence(call.args[0]))
    text = ["# Codes of refusals", ""]
    text += ["A user's mistake ends in one line on stderr and exit code 2. From Python it is an", ""]
    text[-2] += " `endorender.errors.UserError`, whose `code` is stable."
    for code, said in sorted(found.items()):
        text += [f"**{code}**", "", *(f"- {escaped(one)}" for one in dict.fromkeys(said) if one), ""]
    return "\n".join(text)


def sentence(node: ast.expr) -> str:
    """A message's text with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(sentence(v) if isinstance(v, ast.Constant) else "…" for v in node.values)
    if isinstance(node, ast.BinOp):
        return sentence(node.left) + sentence(node.right)
    return ""
