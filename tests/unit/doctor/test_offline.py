"""A process that is kept from reaching other machines, but not itself."""

from __future__ import annotations

import json
import subprocess
import sys

from raypose import import_path

SCRIPT = """
import json, socket, sys
from raypose.doctor.offline import refuse_connections

refused = refuse_connections()
server = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(server.getsockname()):
    pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing
    except OSError as error:
        assert "raypose" not in str(error)
errors = []
for host in ("hub.example", "192.0.2.1"):
    try:
        socket.create_connection((host, 443), timeout=5)
    except OSError as error:
        errors.append(str(error))
print(json.dumps([refused, errors]))
"""


def test_other_machines_are_refused_and_named() -> None:
    # In a process of its own: an audit hook can't be removed.
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60,
        cwd=import_path.home(),
    )  # fmt: skip
    refused, errors = json.loads(ran.stdout)
    assert refused == ["hub.example", "192.0.2.1"]
    assert all("no connection to other machines" in error for error in errors)
