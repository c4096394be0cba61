"""The small language of `derived`, `when` and `constraints`: reckoning and comparing, nothing else.

It is Python's grammar cut down to numbers, text, true and false, knob names, + - * / // % **, comparisons,
`in` and `not in` a list of constants, `and`, `or`, `not`, and min, max, round and int. No attribute,
subscript, text arithmetic or other call exists, so a space file can run nothing.
"""

import ast
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from spaces.errors import SpaceError
from spaces.evaluation import ARITHMETIC, FUNCTIONS, MEMBERSHIP, ORDERING, checked, evaluate, number
from spaces.messages import did_you_mean, listed, shortened

LONGEST_TEXT = 500  # characters
DEEPEST = 60  # nested operations; keeps the evaluation far from Python's recursion limit
TINIEST_VIOLATION = 1e-12
ARGUMENTS = {"min": (1, 50), "max": (1, 50), "round": (1, 2), "int": (1, 1)}
LANGUAGE = "allowed: numbers, text, knob names, + - * / // % **, comparisons, in, and, or, not, min max round int"


@dataclass(frozen=True)
class Expression:
    """A checked expression over knob names.

    Attributes:
        text: As written, without surrounding blanks.
        names: The knobs that it reads.
        canonical: The same expression in one spelling, whatever the blanks and brackets were.
    """

    text: str
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    canonical: str = field(init=False, repr=False, compare=False)
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self.text.strip()
        try:
            tree = _parse(text)
            names = frozenset(_names(tree, text, 0))
        except SpaceError as error:
            raise SpaceError(f"expression {shortened(text)}: {error}") from error
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "canonical", ast.unparse(tree))
        object.__setattr__(self, "_tree", tree)

    def evaluate(self, values: Mapping[str, object]) -> str | int | float | bool:
        """Return the expression's value.

        Args:
            values: Knob name to value; those that the expression does not name are ignored.

        Raises:
            SpaceError: A named knob has no value, a division by zero, arithmetic on something that is not a
                number, or a number that grows too large.
        """
        try:
            value = evaluate(self._tree, values)
            if not isinstance(value, (str, int, float, bool)):
                raise SpaceError(f"it gives {shortened(value)}, which is neither a number, text, nor true or false")
        except SpaceError as error:
            raise SpaceError(f"expression {shortened(self.text)}: {error}") from error
        return value


@dataclass(frozen=True)
class Constraint:
    """A condition that a trial should meet: one comparison of two numbers.

    Attributes:
        name: What to call it in reports.
        text: `a <= b`, or with <, >= or >.
        names: The knobs that it reads.
        canonical: The same constraint in one spelling.
    """

    name: str
    text: str
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    canonical: str = field(init=False, repr=False, compare=False)
    _compare: ast.Compare = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        expression = Expression(self.text)
        tree = expression._tree
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in ORDERING:
            raise SpaceError(
                f"constraint {shortened(expression.text)} must be one comparison of two numbers: "
                "a <= b, a < b, a >= b or a > b"
            )
        object.__setattr__(self, "text", expression.text)
        object.__setattr__(self, "names", expression.names)
        object.__setattr__(self, "canonical", expression.canonical)
        object.__setattr__(self, "_compare", tree)

    def violation(self, values: Mapping[str, object]) -> float:
        """Return by how much the constraint is missed, in its own unit; zero or less when it holds.

        Raises:
            SpaceError: As `Expression.evaluate`; also when a side is not a number.
        """
        op = self._compare.ops[0]
        try:
            left = number(evaluate(self._compare.left, values))
            right = number(evaluate(self._compare.comparators[0], values))
            gap = left - right if isinstance(op, (ast.Lt, ast.LtE)) else right - left
            checked(float(gap))
        except SpaceError as error:
            raise SpaceError(f"constraint {shortened(self.text)}: {error}") from error
        # The comparison decides, not the rounded difference: `a < a` has no gap and is missed all the same.
        if ORDERING[type(op)](left, right):
            return min(float(gap), 0.0)
        return max(float(gap), TINIEST_VIOLATION)


def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST_TEXT:
        raise SpaceError(f"it has {len(text)} characters, more than {LONGEST_TEXT}")
    try:
        with warnings.catch_warnings():  # Python warns of odd but valid spellings, such as `1in [1]`
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise SpaceError(f"not an expression ({error.msg}); {LANGUAGE}") from None
    except (ValueError, RecursionError, MemoryError):
        raise SpaceError(f"not an expression; {LANGUAGE}") from None


def _names(node: ast.expr, text: str, depth: int) -> list[str]:
    """Collect the knob names of a tree, refusing everything outside the language."""
    if depth > DEEPEST:
        raise SpaceError(f"more than {DEEPEST} operations nested")
    match node:
        case ast.Constant(value=value) if isinstance(value, (str, int, float)):
            checked(value)
            return []
        case ast.Name(id=name):
            return [name]
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            parts = [left, right]
        case ast.BoolOp(values=values):
            parts = values
        case ast.Compare(left=left, ops=ops, comparators=others):
            for comparison, other in zip(ops, others, strict=True):
                _check_comparison(comparison, other)
            parts = [left, *(p for other in others for p in _items(other))]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            _check_call(name, args)
            parts = args
        case _:
            shown = ast.get_source_segment(text, node) or type(node).__name__
            raise SpaceError(f"{shortened(shown)} is not part of the language; {LANGUAGE}")
    return [name for part in parts for name in _names(part, text, depth + 1)]


def _items(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]


def _check_comparison(op: ast.cmpop, right: ast.expr) -> None:
    is_group = isinstance(right, (ast.List, ast.Tuple))
    if isinstance(op, (ast.Is, ast.IsNot)):
        raise SpaceError("`is` is not part of the language; write ==")
    if (type(op) in MEMBERSHIP) != is_group or (is_group and not all(map(_is_constant, _items(right)))):
        raise SpaceError("`in` and `not in` take a list of constants, such as lora_rank in [8, 16]")


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant)


def _check_call(name: str, args: list[ast.expr]) -> None:
    if name not in FUNCTIONS:
        raise SpaceError(f"no function {name!r}.{did_you_mean(name, FUNCTIONS)} Functions: {listed(FUNCTIONS)}")
    fewest, most = ARGUMENTS[name]
    if not fewest <= len(args) <= most:
        raise SpaceError(f"{name} takes {fewest} to {most} values, not {len(args)}")
