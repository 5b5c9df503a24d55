"""Works out arithmetic, and nothing else."""

import ast
import operator
from collections.abc import Callable

from langchain.tools import tool
from langchain_core.tools import BaseTool

from markgraph.security.effects import labelled

MAX_LENGTH = 256
MAX_EXPONENT = 64
MAX_MAGNITUDE = 1e100

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def calculate() -> BaseTool:
    """Return a tool that evaluates an arithmetic expression."""

    @tool("calculate")
    def run(expression: str) -> str:
        """Work out an arithmetic expression such as `72 / 24`. Numbers, + - * / // % ** and brackets."""
        value = evaluate(expression)
        # Written again from what was understood: the text itself may hold a comment with any claim.
        return f"The value of {ast.unparse(ast.parse(expression.strip(), mode='eval'))} is {value:g}."

    return labelled(run, reads_private=False, ingests_untrusted=False, egress=False, side_effects=False)


def evaluate(expression: str) -> float:
    """Return the value of an arithmetic expression, in bounded time and size.

    Raises:
        ValueError: for anything but numbers, + - * / // % ** and brackets, or numbers that get too large.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(
            f"The expression has {len(expression)} characters; at most {MAX_LENGTH} are allowed."
        )
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"Not an arithmetic expression: {expression!r}.") from error
    except (ZeroDivisionError, OverflowError, RecursionError) as error:
        raise ValueError(f"{expression!r} has no value: {error}.") from error


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return _bounded(number)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            base, other = _value(left), _value(right)
            if isinstance(op, ast.Pow) and abs(other) > MAX_EXPONENT:
                raise ValueError(f"The exponent {other:g} is too large; at most {MAX_EXPONENT} is allowed.")
            return _bounded(_BINARY[type(op)](base, other))
    raise ValueError("Only numbers, + - * / // % ** and brackets are allowed.")


def _bounded(number: float) -> float:
    if isinstance(number, complex) or abs(number) > MAX_MAGNITUDE:
        raise ValueError(f"The value is not a real number below {MAX_MAGNITUDE:g}.")
    return number
