"""Windows of five frames, for models with temporal context.

Features of single frames come in batch by batch, and go out with two more frames on either side,
as the heads need them.

Lightning Pose predicts frame 2 to frame N−3 of N; rows 0 and 1 repeat row 2, and the last two
repeat row N−3. Its tails depend on the length of its batches; here every row follows this rule.
For videos of up to four frames Lightning Pose predicts nothing; here the first and last frame are
repeated, as it pads sequences in training (`get_context_from_sequence`).
"""

from __future__ import annotations

import torch

CONTEXT = 2
"""Frames before and after the one that is predicted."""
_LENGTH = 2 * CONTEXT + 1


def frames_to_read(start: int, stop: int, n_frames: int) -> tuple[int, int]:
    """The range of frames that the rows `start` to `stop` of a video of `n_frames` need."""
    first, last = max(0, start - CONTEXT), min(n_frames, stop + CONTEXT)
    if start < CONTEXT:
        # Those rows repeat row 2, whose window ends with frame 4.
        last = max(last, min(n_frames, _LENGTH))
    if stop > n_frames - CONTEXT:
        first = min(first, max(0, n_frames - _LENGTH))
    return first, last


class Windows:
    """Joins features of batches so that every frame has its neighbours."""

    def __init__(self) -> None:
        self._kept: torch.Tensor | None = None
        self._n_pushed = 0

    def push(self, features: torch.Tensor) -> torch.Tensor | None:
        """Take features (B, …) of the next frames; give (T + 4, …): T with two on either side.

        None until there are five.
        """
        joined = features if self._kept is None else torch.cat((self._kept, features))
        self._n_pushed += len(features)
        self._kept = joined[-2 * CONTEXT :]
        return joined if len(joined) >= _LENGTH else None

    def padded(self) -> torch.Tensor | None:
        """For a video of up to four frames: all of them, with the ends repeated."""
        if self._kept is None or self._n_pushed >= _LENGTH:
            return None
        return _with_repeated_ends(self._kept)


def with_edges(rows: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Rows for all frames of a video that were read: the first and last of (T, …) repeated.

    If the range that was read ends within the video, the repeated rows are wrong, and not wanted.
    """
    return rows if n_frames < _LENGTH else _with_repeated_ends(rows)


def _with_repeated_ends(rows: torch.Tensor) -> torch.Tensor:
    before, after = (end.expand(CONTEXT, *end.shape[1:]) for end in (rows[:1], rows[-1:]))
    return torch.cat((before, rows, after))
