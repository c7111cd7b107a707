"""Reports for bug trackers name neither user nor machine."""

from __future__ import annotations

import getpass
import json
import os
import socket

from raypose.doctor.findings import Finding
from raypose.doctor.private import as_json, names_here, without_names

NAMES = {"alice": "USER", "lab-pc7": "HOST"}


def test_home_and_names_are_replaced() -> None:
    value = {
        "found": "/home/alice/.cache is full, on lab-pc7",
        "facts": {"paths": ["/home/alice", "/data/alice/x.mp4", "/home/alicewonder", 3, None]},
    }
    assert without_names(value, "/home/alice", NAMES) == {
        "found": "~/.cache is full, on HOST",
        "facts": {"paths": ["~", "/data/USER/x.mp4", "/home/alicewonder", 3, None]},
    }


def test_no_variable_of_the_environment_and_no_name_is_told() -> None:
    home, names = names_here()
    text = f"{home}/x {getpass.getuser()} {socket.gethostname()}"
    told = json.dumps(as_json([Finding("ok", text, name="disk")]))
    assert "~/x" in told
    assert f'"{home}' not in told
    for name in names:
        assert name not in told.replace(name.upper(), "")
    for variable in ("AWS_SECRET_ACCESS_KEY", "PATH"):
        assert os.environ[variable] not in told


def test_root_is_no_name() -> None:
    _, names = names_here()
    assert "root" not in names
