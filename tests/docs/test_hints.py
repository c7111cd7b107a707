"""What the hints of errors tell the user to use exists, and is in the docs."""

from __future__ import annotations

import re

from tests.docs.test_commands import COMMANDS, options
from tests.errors import hints
from tests.markdown import PAGES

_OF_UV = {"--extra"}
_VERBS = {"has", "then"}  # after the program's name, in sentences


def test_hints_name_what_the_docs_describe() -> None:
    """The options of a command are in the reference, which is made from the commands."""
    flags = {flag for name in COMMANDS for flag in options(name)} | _OF_UV
    pages = "\n".join(page.read_text() for page in PAGES)
    named: dict[str, str] = {}
    for hint in hints():
        used = re.findall(r"--[a-z][\w-]*|\b[A-Z]+_[A-Z_]+\b", hint.text)
        used += re.findall(r"\braypose ([a-z]+)", hint.text)
        named |= dict.fromkeys(used, hint.place)
    assert {"--eks-dir", "RAY_AUTH_TOKEN", "demo"} <= set(named)
    known = flags | {*COMMANDS} | _VERBS | set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", pages))
    assert not {name: place for name, place in named.items() if name not in known}
