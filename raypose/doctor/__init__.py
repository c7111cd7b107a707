"""The doctor: whether raypose will work on this machine, how fast, and what to do about it.

```
checks (functions in machine, gpu, programs, trial) → runner (a process for each: child, offline)
    → findings → the command line, or JSON (private)
```
Nothing is changed but raypose's own cache.
"""

from raypose.doctor.findings import Asked, Finding
from raypose.doctor.private import as_json
from raypose.doctor.runner import examine

__all__ = ["Asked", "Finding", "as_json", "examine"]
