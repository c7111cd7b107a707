"""What is freed goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

GLIBC = platform.libc_ver()[0] == "glibc"

# Pieces too small for pages of their own, every hundredth of them still in use.
CODE = """
from raypose.worker.memory import release_memory

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

pieces = [bytearray(4096) for _ in range(50_000)]
pieces = pieces[::100]
before = resident_mib()
release_memory()
print(before - resident_mib())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_what_is_freed_between_pieces_in_use_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100


# Twelve threads that live at the same time and allocate; how many heaps they have.
HEAPS = """
import ctypes, sys, threading
from raypose.worker.memory import limit_arenas

if sys.argv[1] == "limited":
    limit_arenas()
together = threading.Barrier(12)

def work():
    together.wait()
    kept = [bytearray(5000) for _ in range(200)]
    together.wait()

threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(open(sys.argv[2]).read().count("<heap nr"))
"""


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_threads_share_few_heaps(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}

    def heaps(how: str) -> int:
        command = [sys.executable, "-c", HEAPS, how, str(tmp_path / "info.xml")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return int(done.stdout)

    assert heaps("limited") <= 4 < heaps("as they come")
