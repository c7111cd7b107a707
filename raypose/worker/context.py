"""What a step may ask of the process it runs in, and what that process keeps warm.

A worker has one `Context` for all of its tasks. Networks and PCA fits stay in it, so that only the
first video of a model loads them. The executor supplies what differs between processes: where
graphs come from, where progress goes, when to stop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from raypose.errors import TableError
from raypose.specs import ModelSpec, VideoSpec
from raypose.storage.digests import RUN_AGAIN, Identity
from raypose.tasks import Progress, Task
from raypose.worker.budget import Budget
from raypose.worker.memory import release_memory
from raypose.worker.staging import Staging
from raypose.worker.video_check import Witness

if TYPE_CHECKING:
    from raypose.inference.predictor import Predictor
    from raypose.metrics.compute import PcaMetrics
    from raypose.video.index import VideoIndex

MAX_PREDICTORS = 8
"""Networks kept on a device."""

MAX_INDEXES = 4
"""Frame indexes kept; the ranges and steps of one video follow closely on each other."""


class Context:
    """The process that tasks run in.

    Args:
        device: `auto`, `cpu` or `cuda`; resolved when a network is first needed.
        graph: returns the bytes of a model's graph, None where the network must be built here.
        report: called with progress.
        should_stop: whether the run was stopped.
        worker: display name of this process.
        budget: threads and memory that it may use.
        allow_unsafe: whether checkpoints may be unpickled unsafely.

    Attributes:
        n_loaded: networks loaded so far.
        staging: the videos on local disk.
        witness: checks that the videos of a task are those that were planned.
    """

    def __init__(
        self,
        *,
        device: str,
        graph: Callable[[ModelSpec], bytes | None],
        report: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        worker: str,
        budget: Budget,
        allow_unsafe: bool = False,
    ) -> None:
        self.worker = worker
        self.budget = budget
        self.n_loaded = 0
        self.should_stop = should_stop
        self.staging = Staging(should_stop)
        self.witness = Witness(self.staging, should_stop)
        self._device = device
        self._graph = graph
        self._report = report
        self._allow_unsafe = allow_unsafe
        self._predictors: OrderedDict[tuple[str, str], Predictor] = OrderedDict()
        self._pca: dict[tuple[str, str, str], PcaMetrics] = {}
        self._indexes: OrderedDict[tuple[str, Identity], VideoIndex] = OrderedDict()

    def predictor(self, model: ModelSpec, precision: str) -> Predictor:
        """The model's network on this process's device, loaded once."""
        from raypose.inference.device import resolve_device, resolve_precision
        from raypose.inference.predictor import Predictor

        key = (model.fingerprint, precision)
        if key not in self._predictors:
            device = resolve_device(self._device)
            while len(self._predictors) >= MAX_PREDICTORS:
                self._predictors.popitem(last=False)
            self.n_loaded += 1
            self._predictors[key] = Predictor(
                model,
                self._graph(model),
                device=device,
                precision=resolve_precision(precision, device),
                allow_unsafe=self._allow_unsafe,
            )
        self._predictors.move_to_end(key)
        return self._predictors[key]

    def index(self, video: VideoSpec) -> VideoIndex:
        """The frame index of a video, read again only if the file changes.

        For a URL, it is the index of a local copy, which exists until the task ends.

        Raises:
            VideoError: the video can't be read, or is not the one that was planned.
            StorageError: it can't be copied to this machine.
        """
        from raypose.video.index import index_video

        path, identity = self.witness.open(video)
        key = (str(path), identity)
        if key not in self._indexes:
            while len(self._indexes) >= MAX_INDEXES:
                self._indexes.popitem(last=False)
            self._indexes[key] = index_video(path)
            release_memory()  # of the packets of a long video, a hundred times the index
        self._indexes.move_to_end(key)
        return self._indexes[key]

    def pca(self, model: ModelSpec, data_dir: str, digest: str = "") -> PcaMetrics:
        """The PCA fit of a model's training labels, computed once.

        Args:
            model: the model.
            data_dir: where its labels are; empty for the place in its config.
            digest: of the labels when the run was planned; empty for any.

        Raises:
            TableError: the labels have changed since.
            LabelsError: the labels can't be used.
        """
        from raypose.metrics.compute import fit_and_digest
        from raypose.metrics.labels import labels_path

        key = (model.fingerprint, data_dir, digest)
        if key not in self._pca:
            place = Path(data_dir) if data_dir else None
            fit, found = fit_and_digest(model, place)
            if digest and found != digest:
                raise TableError(
                    "the training labels changed after the run was planned",
                    path=labels_path(model, place),
                    hint=RUN_AGAIN,
                )
            self._pca[key] = fit
        return self._pca[key]

    def progress(self, task: Task) -> Callable[[int], None]:
        """A function to call with the number of frames of `task` that are done."""

        def report(n_done: int) -> None:
            self._report(Progress(task.id, n_done, task.n_frames, self.worker))

        return report
