"""The report as JSON for a bug report: without names of user and machine, and without values of
environment variables."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from raypose._version import __version__
from raypose.doctor.findings import Finding

_COMMON = {"root", "user", "users", "home", "localhost"}
"""Names that tell nothing, and that other words of a report are made of."""
_SHORTEST = 6
"""Characters of the shortest value that is replaced; many words hold shorter ones."""


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """What `raypose doctor --json` prints."""
    content = {
        "raypose": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "checks": [_in_order(asdict(finding)) for finding in findings],
    }
    cleaned: dict[str, Any] = anonymous(content, values_here(), names_here())
    return cleaned


def values_here() -> dict[str, str]:
    """What may not be in a report wherever it stands, and what stands for it; longest first."""
    home = os.path.expanduser("~")
    values = {value: f"${name}" for name, value in os.environ.items() if len(value) >= _SHORTEST}
    values |= {home: "~"} if len(home) > 1 else {}
    return dict(sorted(values.items(), key=lambda item: -len(item[0])))


def names_here() -> dict[str, str]:
    """What may not be in it as a word of its own: names of this user and machine."""
    home = os.path.basename(os.path.expanduser("~"))
    names = {socket.gethostname(): "HOST", home: "USER"}
    try:
        names[getpass.getuser()] = "USER"
    except (KeyError, OSError):  # a user id without a name, as containers have
        pass
    return {name: word for name, word in names.items() if len(name) > 1 and name not in _COMMON}


def anonymous(value: Any, values: Mapping[str, str], names: Mapping[str, str]) -> Any:
    """The same with each of the values replaced in all texts, and each name where it is a word."""
    if isinstance(value, dict):
        return {key: anonymous(inner, values, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [anonymous(inner, values, names) for inner in value]
    if not isinstance(value, str):
        return value
    for secret, word in values.items():
        # Not in the middle of a longer name: /home/al is no part of /home/alice.
        value = re.sub(rf"{re.escape(secret)}(?![A-Za-z0-9])", word, value)
    for name, word in names.items():
        value = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, value)
    return value


def _in_order(finding: dict[str, Any]) -> dict[str, Any]:
    order = ("name", "status", "found", "advice", "seconds", "facts")
    return {name: finding[name] for name in order}
