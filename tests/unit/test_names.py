"""One name means one thing in the whole package, and one thing has one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import vertex_tuning

PACKAGE = Path(vertex_tuning.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
CONVENTIONAL = {"log"}
"""A module's logger is called that everywhere."""


def test_no_two_modules_share_a_file_name() -> None:
    places = defaultdict(list)
    for path in MODULES:
        places[path.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_public_name_is_defined_in_two_modules() -> None:
    places = defaultdict(set)
    for path in MODULES:
        for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
            places[name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}


def public_names(module: ast.Module) -> Iterator[str]:
    """Classes, functions and constants at the top level of a module, in conditions and `try` as well."""
    for node in statements(module.body):
        for name in defined_by(node):
            if not name.startswith("_") and name not in CONVENTIONAL:
                yield name


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from statements(getattr(node, field, []))


def defined_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
