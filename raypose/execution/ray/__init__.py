"""The plan on Ray: GPU tasks on workers that own a GPU, the rest on CPU actors.

One long-lived actor holds one GPU (a GPU task of Ray's own would start a process each time), and
keeps its networks between tasks. A task takes the results that it needs as futures, through the
object store. Ray repeats nothing by itself: `raypose.execution.scheduler` decides what is done
where, and again, and this package does it.

`connection` joins or starts a cluster, with the settings of `environment`; `worker` and
`coordinator` run there, in processes that `isolation` keeps the user's directories from; `pool`
and `submissions` are what the driver knows of them, `executor` the whole.
Nothing outside of this package imports ray.
"""

from __future__ import annotations

from raypose.execution.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
