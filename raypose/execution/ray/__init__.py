"""Runs the plan on Ray: GPU tasks on workers that own a GPU, the others on CPU workers.

Ray retries nothing: `raypose.execution.scheduler` decides what runs where, and what is redone. For
the reasons see docs/design.md.

`connection` joins or starts a cluster, with the settings of `environment`; the actors of `worker`
run there, in processes that `isolation` keeps the user's directories from; `pool` and
`submissions` track them on the driver, and `executor` is the loop.
Nothing outside this package imports ray.
"""

from raypose.execution.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
