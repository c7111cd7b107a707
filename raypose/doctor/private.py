"""The report as JSON for a bug report: without names of user, home directory and machine."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from raypose._version import __version__
from raypose.doctor.findings import Finding

_COMMON = {"root", "user", "users", "home", "localhost"}
"""Names that tell nothing, and that other words of a report are made of."""


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """What `raypose doctor --json` prints; no environment variable is in it."""
    content = {
        "raypose": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "checks": [_in_order(asdict(finding)) for finding in findings],
    }
    cleaned: dict[str, Any] = without_names(content, *names_here())
    return cleaned


def names_here() -> tuple[str, dict[str, str]]:
    """This user's home directory, and the names to replace with what stands for them."""
    home = os.path.expanduser("~")
    named = {socket.gethostname(): "HOST", os.path.basename(home): "USER"}
    try:
        named[getpass.getuser()] = "USER"
    except (KeyError, OSError):  # a user id without a name, as containers have
        pass
    return home, {
        name: word for name, word in named.items() if len(name) > 1 and name not in _COMMON
    }


def without_names(value: Any, home: str, names: dict[str, str]) -> Any:
    """The same value with the home directory as `~`, and each name, as a whole word, replaced."""
    if isinstance(value, dict):
        return {key: without_names(inner, home, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_names(inner, home, names) for inner in value]
    if not isinstance(value, str):
        return value
    if len(home) > 1:
        value = re.sub(rf"{re.escape(home)}(?=/|\b|$)", "~", value)
    for name, word in names.items():
        value = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, value)
    return value


def _in_order(finding: dict[str, Any]) -> dict[str, Any]:
    order = ("name", "status", "found", "advice", "seconds", "facts")
    return {name: finding[name] for name in order}
