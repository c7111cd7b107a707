"""What a stage may ask of the process it runs in, and what that process keeps warm.

A worker makes one `Context` and hands it to every task: networks and PCA fits stay in it, so that
the second video of a model pays for neither. The executor supplies what differs between
processes: where graphs come from, whom to tell of progress, when to stop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raypose.errors import TableError
from raypose.specs import ModelSpec, Progress, VideoSpec
from raypose.storage.digests import RUN_AGAIN, Identity
from raypose.worker.memory import release_memory
from raypose.worker.staging import Staging
from raypose.worker.video_check import Witness

if TYPE_CHECKING:
    from raypose.inference.predictor import Predictor
    from raypose.metrics.compute import PcaMetrics
    from raypose.video.index import VideoIndex

MAX_PREDICTORS = 8
"""Networks kept on a device; more models than this take turns."""

MAX_INDEXES = 4
"""Frame indexes kept; the ranges and steps of one video come close after one another."""


class Context:
    """The process that tasks run in.

    Args:
        device: `auto`, `cpu` or `cuda`, as asked for; resolved when a network is first needed.
        graph: gives the bytes of a model's graph, None where the network must be built here.
        report: is told of progress.
        should_stop: whether the run was stopped.
        worker: name of this process, for people.
        allow_unsafe: whether checkpoints may be unpickled unsafely.
        index: gives the frame index that the plan made of a video; None where it is not known.

    Attributes:
        n_loaded: networks loaded so far.
        staging: the videos that it has on local disk.
        witness: whether the videos of a task are what the plan saw.
    """

    def __init__(
        self,
        *,
        device: str,
        graph: Callable[[ModelSpec], bytes | None],
        report: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        worker: str,
        allow_unsafe: bool = False,
        index: Callable[[VideoSpec], VideoIndex | None] = lambda video: None,
    ) -> None:
        self.worker = worker
        self.n_loaded = 0
        self.should_stop = should_stop
        self.staging = Staging(should_stop)
        self.witness = Witness(self.staging, should_stop)
        self._device = device
        self._graph = graph
        self._index = index
        self._report = report
        self._task, self._n_frames = "", 0
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
        """The frame index of a video: the plan's where it describes the file that is here.

        For a URL, the index is of a local copy, which exists until the task ends.

        Raises:
            VideoError: the video can't be read, or differs from what the plan saw.
            StorageError: it can't be copied here.
        """
        path, identity = self.witness.open(video)
        key = (str(path), identity)
        if key not in self._indexes:
            while len(self._indexes) >= MAX_INDEXES:
                self._indexes.popitem(last=False)
            planned = self._index(video) if identity == video.identity else None
            self._indexes[key] = (
                _index_here(path) if planned is None else replace(planned, path=str(path))
            )
        self._indexes.move_to_end(key)
        return self._indexes[key]

    def pca(self, model: ModelSpec, data_dir: str, digest: str = "") -> PcaMetrics:
        """The PCA fit of a model's training labels, made once.

        Args:
            model: the model.
            data_dir: where its labels are; empty for where its config says.
            digest: of the labels when the run was planned; empty for whatever they are.

        Raises:
            TableError: the labels are others now.
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

    @contextmanager
    def task(self, task_id: str, n_frames: int) -> Iterator[None]:
        """Inside the block this task runs; what it opens is closed at the end.

        Args:
            task_id: the task.
            n_frames: frames that it will process.
        """
        self._task, self._n_frames = task_id, n_frames
        with self.staging.task(), self.witness.task():
            yield

    def report(self, n_done: int) -> None:
        """Tell how many frames of the running task are done."""
        self._report(Progress(self._task, n_done, self._n_frames, self.worker))


def _index_here(path: Path) -> VideoIndex:
    from raypose.video.index import index_video

    index = index_video(path)
    release_memory()  # of the packets of a long video, a hundred times the index
    return index
