"""Reports for bug trackers name neither user nor machine, and no variable's value."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from raypose.doctor.findings import Finding
from raypose.doctor.private import anonymous, as_json, names_here

VALUES = {"/home/alice": "~"}
NAMES = {"alice": "USER", "lab-pc7": "HOST"}


def test_home_and_names_are_replaced() -> None:
    value = {
        "found": "/home/alice/.cache is full, on lab-pc7",
        "facts": {"paths": ["/home/alice", "/data/alice/x.mp4", "/home/alicewonder", 3, None]},
    }
    assert anonymous(value, VALUES, NAMES) == {
        "found": "~/.cache is full, on HOST",
        "facts": {"paths": ["~", "/data/USER/x.mp4", "/home/alicewonder", 3, None]},
    }


def test_no_variable_of_the_environment_and_no_name_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "ada"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("SOME_TOKEN", "a secret of 30 (characters)")
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", f"{home}/cache")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-pc7")
    assert getpass.getuser() == "ada"
    text = f"{home}/x, {home}/cache/y, ada on lab-pc7 has a secret of 30 (characters)"
    (check,) = as_json([Finding("ok", text, name="disk")])["checks"]
    assert check["found"] == "~/x, $RAYPOSE_CACHE_DIR/y, USER on HOST has $SOME_TOKEN"


def test_words_of_a_report_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "ok")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setenv("HOME", "/root")
    assert "root" not in names_here()
    told = json.dumps(as_json([Finding("ok", "the root of it", name="disk")]))
    assert "the root of it" in told
    assert '"status": "ok"' in told
