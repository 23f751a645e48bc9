"""The package's docstring says what is public and where it is."""

from __future__ import annotations

import importlib
import re

import vertex_tuning


def test_each_public_name_is_in_the_module_that_the_table_names() -> None:
    table = (vertex_tuning.__doc__ or "").split("=  =")[2]
    module, found = "", []
    for line in table.splitlines():
        names, where = line[:53], line[53:].strip()
        module = where or module
        found += [
            (name, module)
            for name in re.findall(r"\b([A-Z][a-z]+[A-Z]\w+|[a-z]+_[a-z_]+|Tuning|Schedule|Budget)\b", names)
        ]
    assert len(found) > 35
    assert [(name, where) for name, where in found if not hasattr(importlib.import_module(where), name)] == []
