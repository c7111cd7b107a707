"""Which processes have ended: by id, and by id and start where ids come again."""

from __future__ import annotations

import os
import subprocess
import sys

from raypose.storage.processes import has_ended, start_of


def test_a_process_that_runs() -> None:
    me = os.getpid()
    assert not has_ended(me)
    assert not has_ended(me, start_of(me))
    assert has_ended(me, "1"), "another process had this id"


def test_a_process_that_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = start_of(process.pid)
    assert started and not has_ended(process.pid, started)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(process.pid, started), "its parent has not asked yet"
    process.communicate()
    assert has_ended(process.pid) and has_ended(process.pid, started)


def test_what_is_no_id() -> None:
    assert has_ended(10**30)
