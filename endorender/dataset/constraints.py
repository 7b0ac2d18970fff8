"""Conditions on drawn values, such as `light.intensity * tissue.sigma_t[1] < 4000`. Nothing is ever executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

from endorender.errors import UserError

BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
COMPARE = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
LONGEST = 500


def holds(text: str, values: Mapping[str, Any]) -> bool:
    """Whether a condition is true of nested values. Knows + - * /, comparisons, and, or, not, a.b and a[0].

    A name whose value is none (a parameter not set) makes its comparison true: nothing is asked of what is not there.
    Raises UserError when the text cannot be read or names what there is not.
    """
    if len(text) > LONGEST:
        raise UserError(f"a constraint has at most {LONGEST} characters", "INVALID_CONSTRAINT")
    try:
        return bool(_value(ast.parse(text.strip(), mode="eval").body, values))
    except (SyntaxError, RecursionError, MemoryError):
        raise UserError(f"constraint {text!r} cannot be read: write it like a < 2 * b", "INVALID_CONSTRAINT") from None
    except (KeyError, IndexError) as error:
        known = ", ".join(sorted(values))
        raise UserError(f"constraint {text!r}: there is no {error.args[0]} in {known}", "INVALID_CONSTRAINT") from None
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"constraint {text!r}: {error}", "INVALID_CONSTRAINT") from None


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Attribute):
        inside = _value(node.value, values)
        if not isinstance(inside, Mapping):
            raise KeyError(node.attr)
        return inside[node.attr]
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return _value(node.value, values)[node.slice.value]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        inside = _value(node.operand, values)
        return not inside if isinstance(node.op, ast.Not) else -inside
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        left, right = _value(node.left, values), _value(node.right, values)
        return None if left is None or right is None else BINARY[type(node.op)](left, right)
    if isinstance(node, ast.BoolOp):
        parts = (bool(_value(v, values)) for v in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.Compare) and all(type(op) in COMPARE for op in node.ops):
        terms = [_value(t, values) for t in (node.left, *node.comparators)]
        pairs = zip(terms, node.ops, terms[1:])
        return all(a is None or b is None or COMPARE[type(op)](a, b) for a, op, b in pairs)
    raise SyntaxError
