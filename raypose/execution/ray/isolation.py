"""Actors whose processes import installed packages only, whoever started Ray and from where.

Ray puts the directories of the driver and of its script on the import path of all workers.
`JobPath` prevents that if raypose calls `ray.init` itself; if the user has called it, an actor
first removes them. What Ray unpickles to create the actor must therefore import neither raypose
nor anything else: this module and `import_path` travel by value, the actual class and its
arguments as bytes.
"""

from __future__ import annotations

from typing import Any

import ray
from ray import cloudpickle
from ray.job_config import JobConfig

from raypose import import_path


class JobPath(JobConfig):  # type: ignore[misc]
    """A job whose workers keep their own import path."""

    def _runtime_env_has_working_dir(self) -> bool:
        # Ray asks this before it adds the driver's directories.
        return True


def start_actor(target: type, *args: Any, **options: Any) -> Any:
    """`ray.remote(target).options(**options).remote(*args)`, with a clean import path."""
    cloudpickle.register_pickle_by_value(import_path)
    names = [n for n in dir(target) if not n.startswith("_") and callable(getattr(target, n))]
    methods = {name: _forward(name) for name in names}
    outer = type(target.__name__, (), {"__init__": _initialiser(), **methods})
    content = cloudpickle.dumps((target, args))
    return ray.remote(outer).options(**options).remote(import_path.home(), content)


def _initialiser() -> Any:
    leave_out_current_directory = import_path.leave_out_current_directory

    # Functions inside functions are pickled by value.
    def __init__(self: Any, home: str, content: bytes) -> None:
        import sys
        from importlib.util import find_spec

        import ray

        worker = ray._private.worker.global_worker
        leave_out_current_directory(tuple(worker.core_worker.get_job_config().py_driver_sys_path))
        if find_spec("raypose") is None:
            # Last, so that its neighbours shadow nothing.
            sys.path.append(home)
        target, args = ray.cloudpickle.loads(content)
        self._inner = target(*args)

    return __init__


def _forward(name: str) -> Any:
    def method(self: Any, *args: Any) -> Any:
        return getattr(self._inner, name)(*args)

    method.__name__ = name
    return method
