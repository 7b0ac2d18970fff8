"""YAML that can do nothing but hold values: safe types, keys given once, aliases that do not explode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from endorender.errors import UserError

MAX_YAML_BYTES = 1_000_000
MAX_YAML_NODES = 20_000


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file, read safely. Raises UserError in one line."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_YAML_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", "CONFIG_UNREADABLE") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8", "CONFIG_UNREADABLE") from None
    if len(raw) > MAX_YAML_BYTES:
        raise UserError(f"{path} is larger than 1 MB: that is no configuration", "CONFIG_UNREADABLE")
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `key: value` lines", "CONFIG_UNREADABLE")
    if not all(isinstance(k, str) for k in values):
        raise UserError(f"{path}: keys must be words", "CONFIG_UNREADABLE")
    return values


def parse_yaml(text: str, what: str) -> Any:
    """YAML with the safe loader's types only; a key given twice and exploding aliases are refused."""
    import yaml
    from yaml.constructor import SafeConstructor

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        for _ in _nodes(node, (), [0]):
            pass
        return SafeConstructor().construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{what}{where}: {error.problem or error.context}", "CONFIG_UNREADABLE") from None
    except (KeyError, TypeError, AttributeError, OverflowError):
        # The safe types' own constructors: a tag such as !!bool before something else.
        raise UserError(
            f"{what}: a value does not fit the tag before it: leave the tag out", "CONFIG_UNREADABLE"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{what}: {reason}", "CONFIG_UNREADABLE") from None


def _nodes(node: Any, above: tuple[int, ...], count: list[int]) -> Iterator[Any]:
    """Every node as often as aliases repeat it; raises before that becomes too many."""
    import yaml

    count[0] += 1
    if count[0] > MAX_YAML_NODES:
        raise ValueError("aliases repeat too much")
    if id(node) in above:
        raise ValueError("an alias holds itself")
    inside = (*above, id(node))
    yield node
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child, inside, count)
    elif isinstance(node, yaml.MappingNode):
        keys = [(k.tag, k.value) for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
        if twice := sorted({str(value) for tag, value in keys if keys.count((tag, value)) > 1}):
            line = node.start_mark.line + 1
            raise ValueError(f"in the mapping at line {line}, key {', '.join(twice)} is given twice")
        for key, child in node.value:
            yield from _nodes(key, inside, count)
            yield from _nodes(child, inside, count)
