"""The source of :class:`rcproof.nn.recurrent.Recurrent` as it stands in a file that knows nothing of this package."""

from __future__ import annotations

import ast
import inspect

from rcproof.nn import recurrent


class _Alone(ast.NodeTransformer):
    """Without docstrings and imports, and with ``ValueError`` in place of this package's errors."""

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        call = node.exc
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ("RcproofError", "ShapeError")
        ):
            node.exc = ast.Call(ast.Name("ValueError"), call.args[:1], [])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        node.body = _code(node.body)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        node.body = _code(node.body)
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return node
        return ast.Assign([node.target], node.value)  # the annotation may name what is not imported


def _code(body: list[ast.stmt]) -> list[ast.stmt]:
    return [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]


def recurrent_source() -> str:
    """Python source that needs ``math``, ``torch``, ``Tensor``, ``nn`` and ``F``, and defines ``Recurrent``."""
    tree = ast.parse(inspect.getsource(recurrent))
    body = [s for s in _code(tree.body) if not isinstance(s, ast.Import | ast.ImportFrom)]
    kept = _Alone().visit(ast.Module(body, []))
    return "\n\n\n".join(ast.unparse(ast.fix_missing_locations(statement)) for statement in kept.body)
