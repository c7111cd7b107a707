"""Paths, models and workers as people tell them apart: without what all of them share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from raypose.errors import Failure, one_line

if TYPE_CHECKING:
    from raypose.planning import Plan

_MOST_MODELS = 3
_BETWEEN = " · "  # models and video in the subject of a task
_WORKER = re.compile(r"(?P<host>.*):\d+(?: gpu (?P<gpu>[\d,]+))?$")


class ShortNames:
    """Short forms for one run.

    Args:
        root: directory or URL of the outputs; paths below it, or below the current directory, are
            given from there.
        models: names of the models.
    """

    def __init__(self, root: str = "", models: Sequence[str] = ()) -> None:
        here = f"{os.getcwd().rstrip('/')}/"
        self._places = [f"{root.rstrip('/')}/", here] if root.rstrip("/") else [here]
        shared = len(shared_prefix(models))
        self._models = {name: name[shared:] for name in models}

    @classmethod
    def of(cls, plan: Plan) -> ShortNames:
        """For a run by its plan."""
        root = getattr(plan.config, "output_dir", None) or plan.config.eks_dir
        return cls("" if root is None else str(root), [model.name for model in plan.models])

    def path(self, path: str) -> str:
        """A path from `-o` or the current directory where it is below one of them."""
        place = next((p for p in self._places if path.startswith(p) and path != p), "")
        return path[len(place) :]

    def from_here(self, path: str) -> str:
        """A path from the current directory where it is below that: one to copy to a command."""
        return path.removeprefix(self._places[-1]) or path

    def model(self, name: str) -> str:
        """A model's name without what the names of all models begin with."""
        return self._models.get(name, name)

    def subject(self, subject: str) -> str:
        """The subject of a task, `model_a + model_b · video`, with short names of models."""
        owners, between, rest = subject.partition(_BETWEEN)
        models = owners.split(" + ")
        if len(models) > _MOST_MODELS:
            return f"{len(models)} models{between}{rest}"
        return " + ".join(map(self.model, models)) + between + rest

    def sentence(self, failure: Failure, step: str = "", subject: str = "") -> str:
        """A failure in one line, with the step and what it is about where that says more."""
        said = one_line(self.path(failure.path), failure.message, failure.hint)
        step, subject = step or failure.step, subject or failure.subject
        if step == "plan" and failure.path.endswith(subject):
            return said
        return f"{step} {self.subject(subject)}: {said}"


def shared_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to the end of a word; empty where one has nothing else."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    common = first[: next((i for i, (a, b) in pairs if a != b), len(first))]
    for marks in ("/_ ", "-."):
        end = max(common.rfind(mark) for mark in marks) + 1
        if end and all(len(name) > end for name in names):
            return common[:end]
    return ""


def worker_labels(workers: Iterable[str]) -> dict[str, str]:
    """A short label for each worker, by its name (`host:pid gpu 0`): `GPU 0`, `worker 1`.

    The host is named only where there are several. Workers that share a GPU are counted.
    """
    found = {name: _WORKER.match(name) for name in workers}
    several = len({match["host"] for match in found.values() if match}) > 1
    n_same: Counter[str] = Counter()
    labels = {}
    for name, match in found.items():
        gpu = match["gpu"] if match else None
        kind = "worker" if gpu is None else f"GPU {gpu}"
        if match and several:
            kind = f"{match['host'].partition('.')[0]} {kind}"
        n_same[kind] += 1
        n = n_same[kind]
        labels[name] = f"{kind} {n}" if gpu is None else kind if n == 1 else f"{kind} ({n})"
    return labels
