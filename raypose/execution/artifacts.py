"""Graphs of the models, built in a process of its own while the executor starts.

Building one takes Lightning Pose and some seconds, most of it imports. A process beside the
driver's uses that time twice: Ray starts meanwhile, and the memory is given back at the end. It
also can leave out what only training needs (`raypose.inference.minimal_import`), and starts over
with everything where that does not work. Models whose graphs are in the cache start no process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from raypose import import_path as importpath
from raypose.errors import Failure, ModelChangedError, ModelError, UnsafeCheckpointError
from raypose.specs import ModelSpec

_WHOLE = "--whole"


class GraphBuilder:
    """Builds what the cache lacks; use it in a `with` block.

    Args:
        models: the models of the run.
        allow_unsafe: whether checkpoints may be unpickled unsafely.
    """

    def __init__(self, models: Sequence[ModelSpec], *, allow_unsafe: bool) -> None:
        from raypose.inference.artifact import is_cached

        self._models = models
        self._allow_unsafe = allow_unsafe
        self._missing = [model for model in models if not is_cached(model)]
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> GraphBuilder:
        if self._missing:
            self._folder = tempfile.TemporaryDirectory(prefix="raypose-graphs-")
            request = Path(self._folder.name, "request")
            request.write_bytes(pickle.dumps((self._missing, self._allow_unsafe)))
            with Path(self._folder.name, "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, importpath.__file__, __name__, str(request)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        return self

    def graphs(self) -> Iterator[tuple[ModelSpec, bytes]]:
        """Each model with the bytes of its graph; waits for those that are being built.

        A model that changed after the run was planned is left out: the others go on, and each
        task that needs it fails by name, because its worker finds no graph and the same change.

        Raises:
            ModelError: a model can't be built.
        """
        from raypose.inference.artifact import cached_graph

        if self._process is not None and self._folder is not None:
            self._process.wait()
            self._raise_failure(Path(self._folder.name))
        for model in self._models:
            try:
                graph = cached_graph(model, allow_unsafe=self._allow_unsafe)
            except ModelChangedError:
                continue
            yield model, graph

    def _raise_failure(self, folder: Path) -> None:
        answer = folder / "answer"
        if not answer.exists():
            log = (folder / "log").read_text(errors="replace").strip().splitlines()
            raise ModelError(
                f"the network could not be built ({log[-1] if log else 'its builder died'})",
                path=self._missing[0].directory,
                hint="Check that lightning-pose can be imported.",
            )
        failure = pickle.loads(
            answer.read_bytes()
        )  # written by our own child, in a private folder
        if isinstance(failure, Failure):
            unsafe = failure.error == UnsafeCheckpointError.__name__
            kind = UnsafeCheckpointError if unsafe else ModelError
            raise kind(failure.message, path=failure.path, hint=failure.hint)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()


def _build(request: Path, *, whole: bool) -> None:
    """Build what the request names and leave the answer beside it: a failure, or None.

    Args:
        request: the models and whether they may be unpickled unsafely.
        whole: import all of Lightning Pose.
    """
    from raypose.inference import PASSIVE_THREADS
    from raypose.inference.artifact import cached_graph
    from raypose.inference.minimal_import import leave_out_training

    os.environ.setdefault(*PASSIVE_THREADS)
    models, allow_unsafe = pickle.loads(request.read_bytes())
    # Unpickled without limits, a checkpoint may name anything of Lightning Pose.
    whole = whole or allow_unsafe
    if not whole:
        leave_out_training()
    failure = None
    try:
        for model in models:
            with contextlib.suppress(ModelChangedError):
                cached_graph(model, allow_unsafe=allow_unsafe)
    except Exception as error:
        if not whole and not isinstance(error, UnsafeCheckpointError):
            # Whether the model is at fault or what was left out, only a fresh process can tell.
            os.execv(sys.executable, [*sys.orig_argv, _WHOLE])
        failure = Failure.of("load", error)
    request.with_name("answer").write_bytes(pickle.dumps(failure))


if __name__ == "__main__":
    _build(Path(sys.argv[1]), whole=_WHOLE in sys.argv)
