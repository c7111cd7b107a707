"""Network artifacts of the models, built in another process while the executor starts.

Building one takes Lightning Pose and some seconds, most of it imports. Meanwhile Ray starts, and
the memory is given back at the end. The process leaves out what only training needs
(`raypose.inference.minimal_import`), and starts over with everything if that does not work. If the
cache has all artifacts, no process is started.
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
from typing import TYPE_CHECKING

from raypose import import_path
from raypose.errors import Failure, ModelChangedError, ModelError, UnsafeCheckpointError
from raypose.execution.base import Wait
from raypose.specs import ModelSpec

if TYPE_CHECKING:
    from raypose.inference.artifact import NetworkArtifact

_WHOLE = "--whole"
_LOOK_EVERY_S = 0.5


class ArtifactBuilder:
    """Builds what the cache lacks; use it in a `with` block."""

    def __init__(self, models: Sequence[ModelSpec], *, allow_unsafe: bool) -> None:
        from raypose.inference.artifact import is_cached

        self._models = models
        self._allow_unsafe = allow_unsafe
        self._missing = [model for model in models if not is_cached(model)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ArtifactBuilder:
        if self._missing:
            self._temporary = tempfile.TemporaryDirectory(prefix="raypose-artifacts-")
            self._folder = Path(self._temporary.name)
            request = self._folder / "request"
            request.write_bytes(pickle.dumps((self._missing, self._allow_unsafe)))
            command = import_path.command(__name__, str(request))
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._temporary.cleanup()

    def artifacts(self, on_wait: Wait) -> Iterator[tuple[ModelSpec, NetworkArtifact]]:
        """Each model with its artifact; waits for those that are being built, and says so.

        A model that changed after the run was planned is skipped: the others go on, and each task
        that needs it fails by name, because its worker finds no artifact and the same change.
        """
        from raypose.inference.artifact import cached_artifact

        if self._process is not None:
            while self._process.poll() is None:
                on_wait(self._in_words())
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_LOOK_EVERY_S)
            self._raise_failure()
        for model in self._models:
            with contextlib.suppress(ModelChangedError):
                yield model, cached_artifact(model, allow_unsafe=self._allow_unsafe)

    def _in_words(self) -> str:
        """Which network is being built."""
        from raypose.inference.artifact import is_cached

        n = len(self._missing)
        number = min(n, 1 + sum(map(is_cached, self._missing)))
        return f"Preparing network {number} of {n}, first time only"

    def _raise_failure(self) -> None:
        answer = self._folder / "answer"
        if not answer.exists():
            log = (self._folder / "log").read_text(errors="replace").strip().splitlines()
            raise ModelError(
                f"the network could not be built ({log[-1] if log else 'its builder died'})",
                path=self._missing[0].directory,
                hint="Check that lightning-pose can be imported.",
            )
        # Our own child wrote it, in a private folder.
        if failure := pickle.loads(answer.read_bytes()):
            unsafe = failure.error == UnsafeCheckpointError.__name__
            kind = UnsafeCheckpointError if unsafe else ModelError
            raise kind(failure.message, path=failure.path, hint=failure.hint)


def build_requested(request: Path, *, whole: bool) -> None:
    """Build what the request names, and leave beside it a failure or None, as `answer`."""
    from raypose.inference import PASSIVE_THREADS
    from raypose.inference.artifact import cached_artifact
    from raypose.inference.minimal_import import exclude_training

    os.environ.setdefault(*PASSIVE_THREADS)
    models, allow_unsafe = pickle.loads(request.read_bytes())
    # Unpickled without limits, a checkpoint may name anything of Lightning Pose.
    whole = whole or allow_unsafe
    if not whole:
        exclude_training()
    failure = None
    try:
        for model in models:
            with contextlib.suppress(ModelChangedError):
                cached_artifact(model, allow_unsafe=allow_unsafe)
    except Exception as error:
        if not whole and not isinstance(error, UnsafeCheckpointError):
            # Only a fresh process can tell whether the model is at fault or what was excluded.
            os.execv(sys.executable, [*sys.orig_argv, _WHOLE])
        failure = Failure.of("load", error)
    request.with_name("answer").write_bytes(pickle.dumps(failure))


if __name__ == "__main__":
    build_requested(Path(sys.argv[1]), whole=_WHOLE in sys.argv)
