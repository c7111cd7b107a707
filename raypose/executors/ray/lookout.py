"""Whether the workers see what the driver sees: the videos, and where outputs go.

Each worker looks once, those that come later when they come. A worker that does not see the files
of the run stops it: nobody wants half of the outputs on a disk that is thrown away.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import ray

from raypose.errors import ClusterError
from raypose.executors.ray.crew import Crew
from raypose.stages.access import Places, marked

_FIRST_S = 20.0


class Lookout:
    """Sends workers to look, and hears what they say.

    Args:
        places: what is read and written.
        held: keeps the marks, by which workers know the driver's files, until the run is over.
        crew: who looks.
    """

    def __init__(self, places: Places, held: ExitStack, crew: Crew) -> None:
        self._places = places
        self._crew = crew
        self._sent: set[int] = set()
        self._looks: list[Any] = []
        held.enter_context(marked(places))
        self._send()
        # The first answers soon; workers that the cluster has yet to start answer later.
        ray.wait(self._looks, num_returns=1, timeout=_FIRST_S)

    def _send(self) -> None:
        for slot in self._crew:
            if slot.number not in self._sent:
                self._sent.add(slot.number)
                self._looks.append(slot.actor.look.remote(self._places))

    def check(self) -> None:
        """Hear those who have answered, and send those who are new.

        Raises:
            ClusterError: a worker does not see what the driver sees.
        """
        self._send()
        if not self._looks:
            return
        answered, self._looks = ray.wait(self._looks, num_returns=len(self._looks), timeout=0)
        for look in answered:
            try:
                refused = ray.get(look)
            except ray.exceptions.RayError:
                continue  # the worker is gone, and with it what it saw
            if refused is not None:
                raise ClusterError(refused.message, path=refused.path, hint=refused.hint)
