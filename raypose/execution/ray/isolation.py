"""Actors whose processes import what is installed, whoever has started Ray and from where.

Ray puts the driver's current directory and its script's on the import path of all workers. Where
raypose calls `ray.init` itself, `JobPath` keeps it from that; where the user has called it, the
actor's first act is to take them off again. So what Ray unpickles to make the actor must import
nothing of raypose or beyond: this module and `importpath` travel by value, and the class that
does the work, with its arguments, as bytes.
"""

from __future__ import annotations

from typing import Any

import ray
from ray import cloudpickle
from ray.job_config import JobConfig

from raypose import import_path as importpath


class JobPath(JobConfig):  # type: ignore[misc]
    """A job whose workers have the import path of their own Python."""

    def _runtime_env_has_working_dir(self) -> bool:
        # What Ray asks before it adds the directories of the driver.
        return True


def remote_class(target: type, **options: Any) -> Any:
    """`ray.remote(target)`, in a process with a clean import path.

    Args:
        target: a class; its public methods are those of the actor.
        options: of the actor.

    Returns:
        What has `remote(*args)`, as Ray's own actor classes do.
    """
    cloudpickle.register_pickle_by_value(importpath)
    names = [n for n in dir(target) if not n.startswith("_") and callable(getattr(target, n))]
    methods = {name: _forward(name) for name in names}
    outer = type(target.__name__, (), {"__init__": _initialiser(), **methods})
    return _Remote(ray.remote(outer).options(**options), target)


class _Remote:
    """An actor class that takes the arguments of the class within."""

    def __init__(self, outer: Any, target: type) -> None:
        self._outer, self._target = outer, target

    def remote(self, *args: Any) -> Any:
        return self._outer.remote(importpath.home(), cloudpickle.dumps((self._target, args)))


def _initialiser() -> Any:
    leave_out_current_directory = importpath.leave_out_current_directory

    # Functions inside functions are pickled by value.
    def __init__(self: Any, home: str, content: bytes) -> None:
        import sys
        from importlib.util import find_spec

        import ray

        worker = ray._private.worker.global_worker
        leave_out_current_directory(tuple(worker.core_worker.get_job_config().py_driver_sys_path))
        if find_spec("raypose") is None:
            # At the end, where its neighbours shadow nothing.
            sys.path.append(home)
        target, args = ray.cloudpickle.loads(content)
        self._inner = target(*args)

    return __init__


def _forward(name: str) -> Any:
    def method(self: Any, *args: Any) -> Any:
        return getattr(self._inner, name)(*args)

    method.__name__ = name
    return method
