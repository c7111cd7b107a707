"""What a step may ask of the process it runs in, and what that process keeps warm.

A worker makes one `Context` and hands it to every task: networks and PCA fits stay in it, so that
the second video of a model pays for neither. The executor supplies what differs between processes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from raypose.errors import TableError
from raypose.specs import ModelSpec, Progress, VideoSpec
from raypose.storage.digests import RUN_AGAIN
from raypose.storage.identity import Identity
from raypose.worker.budget import Budget
from raypose.worker.memory import release_memory
from raypose.worker.video_check import Staging, VideoCheck

if TYPE_CHECKING:
    from raypose.inference.predictor import Predictor
    from raypose.metrics.compute import PcaMetrics
    from raypose.video.index import VideoIndex

K = TypeVar("K")
V = TypeVar("V")

MAX_PREDICTORS = 8
"""Networks kept on a device; more models than this take turns."""

MAX_INDEXES = 4
"""Frame indexes kept; the ranges and steps of one video come close after one another."""


class Context:
    """The process that tasks run in.

    Args:
        device: `auto`, `cpu` or `cuda`, as asked for; resolved when a network is first needed.
        artifact: gives the bytes of a model's `NetworkArtifact`, None where the network must be
            built here.
        worker: name of this process, for people.
        index: gives the frame index that the plan made of a video; None where it is not known.

    Attributes:
        n_loaded: networks loaded so far.
        staging: the videos that it has on local disk.
        video_check: whether the videos of a task are what the plan saw.
    """

    def __init__(
        self,
        *,
        device: str,
        artifact: Callable[[ModelSpec], bytes | None],
        report: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        worker: str,
        budget: Budget,
        allow_unsafe: bool = False,
        index: Callable[[VideoSpec], VideoIndex | None] = lambda video: None,
    ) -> None:
        self.worker = worker
        self.n_loaded = 0
        self.should_stop = should_stop
        self.staging = Staging(should_stop)
        self.video_check = VideoCheck(self.staging, should_stop)
        self._device = device
        self._artifact = artifact
        self._index = index
        self._report = report
        self.budget = budget
        self._task, self._n_frames = "", 0
        self._allow_unsafe = allow_unsafe
        self._predictors: OrderedDict[tuple[str, str], Predictor] = OrderedDict()
        self._pca: dict[tuple[str, str, str], PcaMetrics] = {}
        self._metrics: OrderedDict[Hashable, Any] = OrderedDict()
        self._indexes: OrderedDict[tuple[str, Identity], VideoIndex] = OrderedDict()

    def predictor(self, model: ModelSpec, precision: str) -> Predictor:
        """The model's network on this process's device, loaded once."""
        from raypose.inference.device import resolve_device, resolve_precision
        from raypose.inference.predictor import Predictor

        def load() -> Predictor:
            device = resolve_device(self._device)
            self.n_loaded += 1
            return Predictor(
                model,
                self._artifact(model),
                device=device,
                precision=resolve_precision(precision, device),
                allow_unsafe=self._allow_unsafe,
            )

        return _kept(self._predictors, (model.fingerprint, precision), load, MAX_PREDICTORS)

    def index(self, video: VideoSpec) -> VideoIndex:
        """The frame index of a video: the plan's where it describes the file that is here.

        For a URL, the index is of a local copy, which exists until the task ends.

        Raises:
            VideoError: the video can't be read, or differs from what the plan saw.
            StorageError: it can't be copied here.
        """
        path, identity = self.video_check.open(video)

        def load() -> VideoIndex:
            planned = self._index(video) if identity == video.identity else None
            if planned is not None:
                return replace(planned, path=str(path))
            from raypose.video.index import index_video
            from raypose.video.index_cache import store_index

            index = index_video(path)
            release_memory()  # of the packets of a long video, a hundred times the index
            if identity == video.identity:  # the cache has dropped the plan's
                store_index(video.path, identity, index, video.fingerprint)
            return index

        return _kept(self._indexes, (str(path), identity), load, MAX_INDEXES)

    def pca(self, model: ModelSpec, data_dir: str, digest: str = "") -> PcaMetrics:
        """The PCA fit of a model's training labels, made once.

        `data_dir` is where these are, if not where the model's config says; `digest` is theirs
        when the run was planned, empty for whatever they are.

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
                message = "the training labels changed after the run was planned"
                raise TableError(message, path=labels_path(model, place), hint=RUN_AGAIN)
            self._pca[key] = fit
        return self._pca[key]

    def metrics(self, of: Hashable, compute: Callable[[], V]) -> V:
        """The metrics of a table, computed once for steps on it that come after one another.

        `of` tells these metrics from all others.
        """
        return cast("V", _kept(self._metrics, of, compute, 1))

    @contextmanager
    def task(self, task_id: str, n_frames: int) -> Iterator[None]:
        """Inside the block this task runs; what it opens is closed at the end."""
        self._task, self._n_frames = task_id, n_frames
        with self.staging.task(), self.video_check.task():
            yield

    def report(self, n_done: int) -> None:
        self._report(Progress(self._task, n_done, self._n_frames, self.worker))


def _kept(kept: OrderedDict[K, V], key: K, load: Callable[[], V], most: int) -> V:
    """What is kept under a key, loaded once; of all, the `most` that were used last are kept."""
    if key not in kept:
        while len(kept) >= most:
            kept.popitem(last=False)
        kept[key] = load()
    kept.move_to_end(key)
    return kept[key]
