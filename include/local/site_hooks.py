"""Hooks of the documentation site (`hooks` in mkdocs.yml).

The pages are also read in the repository, so they link to its files. The site does not have these files.
"""

from __future__ import annotations

import re
from typing import Any, Final

_LINK_OUT: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(\.\./([^)#]+)(?:#[^)]*)?\)")
_ROLE: Final = re.compile(r":(?:class|func|meth|mod|data):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each link to a file outside of docs/ by the path of the file."""
    return _LINK_OUT.sub(_path_of, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show the name that a Sphinx role of a docstring refers to."""
    return _ROLE.sub(r"<code>\1</code>", html)


def _path_of(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text in path else f"{text} (`{path}`)"
