"""Runs the plan on Ray: GPU tasks on workers that own a GPU, the others on CPU workers.

Each worker is a long-lived actor (a plain Ray task with a GPU would start a process each time) and
keeps its networks between tasks. A task takes the results that it needs as futures, through the
object store. Ray retries nothing: `raypose.execution.scheduler` decides what runs where, and what
is redone.

`connection` joins or starts a cluster, with the settings of `environment`; the actors of `worker`
run there, in processes that `isolation` keeps the user's directories from; `pool` and
`submissions` track them on the driver, and `executor` is the loop.
Nothing outside this package imports ray.
"""

from raypose.execution.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
