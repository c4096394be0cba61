"""Evaluates a checked expression tree over the knobs' values; every failure is a SpaceError.

Numbers stay small (whole numbers up to 10^18, exponents up to 16) and text is only compared, so that no
expression can take long or fill the memory.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spaces.errors import SpaceError
from spaces.messages import shortened

LARGEST_INT = 10**18
LARGEST_EXPONENT = 16
MOST_DIGITS = 15  # of round(x, digits): a float holds no more

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
EQUALITY: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
ORDERING: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
MEMBERSHIP: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}
FUNCTIONS = ("min", "max", "round", "int")


def evaluate(node: ast.expr, values: Mapping[str, object]) -> object:
    """Evaluate a tree that `spaces.expressions` has checked.

    Args:
        node: The expression; only the whitelisted node types occur.
        values: Knob name to value.

    Raises:
        SpaceError: A name without a value, a division by zero, arithmetic on text, or too large a number.
    """
    match node:
        case ast.Constant(value=value):
            return checked(value)
        case ast.Name(id=name):
            if name not in values:
                raise SpaceError(f"{name!r} has no value here")
            return checked(values[name])
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [evaluate(item, values) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not evaluate(operand, values)
        case ast.UnaryOp(operand=operand):
            return -number(evaluate(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _arithmetic(op, number(evaluate(left, values)), number(evaluate(right, values)))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(evaluate(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(evaluate(part, values) for part in parts)
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _comparison(evaluate(left, values), ops, [evaluate(other, values) for other in others])
        case ast.Call(func=ast.Name(id=name), args=args):
            return _call(name, [number(evaluate(arg, values)) for arg in args])
    raise SpaceError(f"{type(node).__name__} is not part of the language")


def checked(value: object) -> object:
    """Return the value; refuse numbers that are not finite or too large to reckon with.

    Raises:
        SpaceError: Infinity, not a number, a complex number, or a whole number beyond 10^18.
    """
    if isinstance(value, complex):
        raise SpaceError("the result is not a real number")
    if isinstance(value, float) and not math.isfinite(value):
        raise SpaceError("a number here is infinite or not a number")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise SpaceError("a whole number here is beyond 10^18")
    return value


def number(value: object) -> float:
    """Return the value if one can reckon with it (true and false are no numbers).

    Raises:
        SpaceError: It is text, true or false, or a list.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpaceError(f"{shortened(value)} is not a number")
    return value


def _arithmetic(op: ast.operator, left: float, right: float) -> object:
    if isinstance(op, ast.Pow) and abs(right) > LARGEST_EXPONENT:
        raise SpaceError(f"the exponent {shortened(right)} is beyond {LARGEST_EXPONENT}")
    try:
        return checked(ARITHMETIC[type(op)](left, right))
    except ZeroDivisionError:
        raise SpaceError("division by zero") from None
    except OverflowError:
        raise SpaceError("a number here is too large") from None


def _comparison(left: object, ops: Sequence[ast.cmpop], others: Sequence[object]) -> bool:
    for op, right in zip(ops, others, strict=True):
        if type(op) in EQUALITY:
            holds = EQUALITY[type(op)](left, right)
        elif type(op) in MEMBERSHIP:
            holds = MEMBERSHIP[type(op)](left, right)
        elif isinstance(left, str) and isinstance(right, str):
            holds = ORDERING[type(op)](left, right)
        else:
            holds = ORDERING[type(op)](number(left), number(right))
        if not holds:
            return False
        left = right
    return True


def _call(name: str, args: Sequence[float]) -> object:
    if name == "min":
        return min(args)
    if name == "max":
        return max(args)
    if name == "int":
        return checked(int(args[0]))
    if len(args) == 1:
        return checked(round(args[0]))
    digits = args[1]
    if not isinstance(digits, int) or not 0 <= digits <= MOST_DIGITS:
        raise SpaceError(f"round(x, digits) takes 0 to {MOST_DIGITS} digits, not {shortened(digits)}")
    return round(args[0], digits)
