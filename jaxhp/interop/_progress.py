"""What both writers show of a study after a segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxhp._training import Progress
    from jaxhp.study import Study


def scalars(study: Study, progress: Progress) -> dict[str, float]:
    """Name -> value; the best under the name of its metric, as soon as there is one."""
    named = {
        "trials/begun": progress.asked,
        "trials/finished": progress.finished,
        "trials/failed": progress.failed,
        "lanes/occupied": progress.busy / progress.lanes,
        "lanes/steps per second": progress.steps_per_second,
        **{f"standing/{step}": count for step, count in progress.standing.items()},
    }
    return named if progress.best is None else named | {f"best/{study.outcomes[0].name}": progress.best}
