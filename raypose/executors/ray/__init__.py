"""The plan on Ray: GPU tasks on workers that own a GPU, the rest on CPU actors.

One long-lived actor holds one GPU (a GPU task of Ray's own would start a process each time), and
keeps its networks between tasks. All tasks of a session are submitted at once; each takes the
results it depends on as futures, so that Ray does the waiting and hands tables over through the
object store. The driver keeps a bounded number of sessions in flight and listens.

What goes wrong: Ray starts dead workers again and repeats their calls; an actor without a GPU or
CPU (`Board`) counts the attempts, so that a video that kills its worker each time fails by name
in the end. What was on a node that is gone is done on the others (`crew`, `flight`).

`connection` joins or starts a cluster, with the settings of `environment`; `actors` is what runs
there, in processes that `isolation` keeps the user's directories from; `crew` and `flight` are
what the driver knows of it, `executor` the whole.
Nothing outside of this package imports ray.
"""

from __future__ import annotations

from raypose.executors.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
