"""Cut the snippet with the highest motion energy, with its table, metrics and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raypose.steps.metrics import write_metrics
from raypose.steps.outcome import Outcome
from raypose.steps.provenance import made_of
from raypose.tasks import SnippetArgs, Task
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; it has no result."""
    from raypose.rendering.labeled_video import draw_labeled_video
    from raypose.rendering.snippet import choose_snippet, cut_snippet
    from raypose.tables.keypoints import write_csv
    from raypose.video.frames import describe
    from raypose.video.writer import LABELED_BY

    args = task.args
    assert isinstance(args, SnippetArgs)
    (table,) = inputs
    model, threads = args.owner.model, context.budget.draw
    index = context.index(args.video)
    start, stop = choose_snippet(
        table.xy,
        table.likelihood,
        index.times_s,
        duration_s=args.duration_s,
        threshold=model.confidence_threshold,
        is_ok=table.is_ok,
    )
    facts: dict[str, Any] = {"start": start, "stop": stop}

    def commit(output: str) -> Any:
        witness = context.witness
        return made_of(table, output, args.recipe, args.video, witness, facts=facts)

    with commit(args.clip) as temporary:
        cut_snippet(
            index,
            start,
            stop,
            temporary,
            threads=threads,
            memory_bytes=context.budget.memory_bytes,
            should_stop=context.should_stop,
        )
    with commit(args.labeled) as temporary:
        draw_labeled_video(
            index,
            table.xy,
            table.likelihood,
            temporary,
            threshold=model.confidence_threshold,
            colormap=model.colormap,
            settings=LABELED_BY[args.encoder],
            start=start,
            stop=stop,
            threads=threads,
            memory_bytes=context.budget.memory_bytes,
            should_stop=context.should_stop,
        )
    part = table.slice(start, stop)
    with commit(args.table) as temporary:
        write_csv(part, temporary, context.budget.write)
    made = [args.clip, args.labeled, args.table]
    measured = write_metrics(args, part, args.metrics, context)
    warnings = list(measured.warnings)
    if part.frames is not None:
        said = describe(part.frames.counts)
        warnings.append(f"no window of the video is without damage; of the snippet, {said}")
    return Outcome([None], made + measured.made, facts, warnings)
