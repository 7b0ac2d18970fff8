"""Hypothesis strategies for registered models, from their cases and pydantic's bounds: a new model joins by itself."""

import typing
from typing import Any, Literal

import annotated_types
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import BaseModel

from endorender.errors import UserError

MARGIN = 1e-3  # of a field's range: how near to an open bound values come


@st.composite
def models(draw: Any, registry: Any, name: str, **fixed: Any) -> Any:
    """An instance of one registered class: a case of its own with some fields drawn anew. fixed: fields as given."""
    case = draw(st.sampled_from([case for n, case in registry.cases() if n == name]))
    cls = registry[name]
    values = dict(case)
    derived = {key for key, field in cls.model_fields.items() if field.exclude}  # cannot be given
    fixed = {key: value for key, value in fixed.items() if key not in derived}
    for key, field in cls.model_fields.items():
        if key in fixed or key in derived:
            continue
        base = values.get(key, None if field.is_required() else field.get_default(call_default_factory=True))
        value = draw(_field(field.annotation, field.metadata, base))
        if value is not None and value is not base:
            values[key] = value
    try:
        return registry.build({"type": name, **values, **fixed})
    except UserError:
        assume(False)  # the model itself refuses this combination


def _field(annotation: Any, metadata: list[Any], base: Any) -> st.SearchStrategy[Any]:
    """The field's base value, or another of its type within its bounds."""
    keep = st.just(base)
    if base is None or (isinstance(base, (str, BaseModel)) and typing.get_origin(annotation) is not Literal):
        return keep
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(typing.get_args(annotation))
    if isinstance(base, bool):
        return st.booleans()
    if isinstance(base, (int, float)):
        low, high = _bounds(metadata, float(base))
        whole = isinstance(base, int) and annotation is int
        drawn = st.integers(int(low), int(high)) if whole else st.floats(low, high, allow_subnormal=False)
        return st.one_of(keep, drawn)
    if _numbers(base):
        # Towards zero only: what holds for a list of numbers (below 1, increasing, ...) is the model's own matter.
        factors = st.sampled_from([0.0, 0.25, 0.5, 1.0])
        return st.one_of(keep, st.builds(_scaled, keep, factors))
    return keep


def _bounds(metadata: list[Any], base: float) -> tuple[float, float]:
    """A closed interval within the field's; an open end lies some way off the base value."""
    low, high = base - 0.5 * abs(base) - 0.1, base + abs(base) + 0.1
    for bound in metadata:
        for kind, key in ((annotated_types.Ge, "ge"), (annotated_types.Gt, "gt")):
            if isinstance(bound, kind):
                low = float(getattr(bound, key)) + (MARGIN if key == "gt" else 0)
        for kind, key in ((annotated_types.Le, "le"), (annotated_types.Lt, "lt")):
            if isinstance(bound, kind):
                high = float(getattr(bound, key)) - (MARGIN if key == "lt" else 0)
    return low, max(low, high)


def _numbers(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, (tuple, list)) and all(map(_numbers, value)))


def _scaled(value: Any, factor: float) -> Any:
    return value * factor if isinstance(value, (int, float)) else [_scaled(v, factor) for v in value]
