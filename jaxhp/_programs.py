"""The programs of a run: which there are, how wide, and for how many trials side by side. Planned and measured, or as the log has it.

Without sizes there is one program, as wide as the lanes. With several buckets a program is narrower, for few trials of its sizes stand
side by side: it has at most a quarter of the slots that they are expected to fill, so that half-filled programs cost little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxhp._types import Record, Scheduler
from jaxhp.errors import StudyError
from jaxhp.schedulers import to_the_end

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.train import Lanes, Trainable
    from jaxhp.train._buckets import Plan, Sizes

Wanted: TypeAlias = "str | int | Sequence[int | Mapping[str, int]]"  # of buckets
_HALVES = 0.5  # of all steps are trained under a scheduler, roughly
_UNKNOWN = 64  # trials, where their number is not given


class Programs(NamedTuple):
    """What a run trains in."""

    plan: Plan | None  # None: the trainable has no sizes that the space varies
    docks: list[Lanes]  # one a bucket
    lanes: int  # trials side by side


class Work(NamedTuple):
    """What is to be trained."""

    trainable: Trainable
    trials: int | None
    steps: int
    segment: int
    seeds: int
    scheduler: Scheduler
    mesh: Any


def programs(study: Study, work: Work, lanes: int | str, buckets: Wanted, shared: Lanes | None, again: bool) -> Programs:
    """Builds them; the widths and the plan are those of the log, if there is a run to go on with.

    Args:
        study: whose run.
        work: what is to be trained.
        lanes: the number of lanes, replicates included, or "auto".
        buckets: see `Study.train`.
        shared: lanes of another study, to be used again.
        again: the run had more lanes, for which memory did not suffice; these are fewer.
    """
    from jaxhp.train import check
    from jaxhp.train._buckets import Plan, axes
    from jaxhp.train._padding import refuse_unsafe

    logged, multiple = study._fold.course.run, work.seeds * (1 if work.mesh is None else work.mesh.devices.shape[0])
    build = _Builder(study, work, shared)
    if logged is not None:
        plan = Plan.from_json(logged["plan"]) if "plan" in logged else None
        if again and plan is not None:
            assert isinstance(lanes, int)
            plan = plan._replace(buckets=tuple(b._replace(lanes=max(multiple, b.lanes // 2)) for b in plan.buckets))
            if len(plan.buckets) == 1:
                plan = plan._replace(buckets=(plan.buckets[0]._replace(lanes=lanes),))
        count = lanes // work.seeds if again and isinstance(lanes, int) else logged["lanes"]
        if plan is None:
            return Programs(None, [build(None, count * work.seeds)], count)
        return Programs(plan, [build(b.sizes, b.lanes) for b in plan.buckets], count)
    varying = axes(work.trainable, study.space)
    if not varying:
        if buckets not in ("auto", 1):
            raise StudyError(
                f"buckets={buckets!r}: the trainable has no sizes that the space varies; build it with jaxhp.padded(make, width=256), "
                "where the space has 'width', or leave buckets out"
            )
        dock = build.widest(None, lanes, _remaining(study, work) * work.seeds, multiple)
        return Programs(None, [dock], dock.width // work.seeds)
    refuse_unsafe(check(work.trainable, build.example).state)
    return _planned(study, work, lanes, 1 if shared is not None else buckets, build, multiple)


def _planned(study: Study, work: Work, lanes: int | str, buckets: Wanted, build: _Builder, multiple: int) -> Programs:
    from jaxhp.train._autotune import most_lanes
    from jaxhp.train._buckets import Measured, axes, plan

    trials = _remaining(study, work)
    share = 1.0 if work.scheduler.name == to_the_end().name else _HALVES
    price = Measured(build, axes(work.trainable, study.space)) if buckets == "auto" else None
    made = plan(work.trainable, study.space, trials, work.steps * share * work.seeds, buckets, price)
    if len(made.buckets) == 1:
        dock = build.widest(made.buckets[0].sizes, lanes, trials * work.seeds, multiple)
        bucket = made.buckets[0]._replace(lanes=dock.width)
        return Programs(made._replace(buckets=(bucket,)), [dock], dock.width // work.seeds)
    count = min(trials, most_lanes()) if isinstance(lanes, str) else lanes // work.seeds
    docks = []
    for b in made.buckets:
        here = max(1, round(b.trials))
        most = max(multiple, int(count * work.seeds * b.trials / trials / 4) // multiple * multiple)
        docks.append(build.narrow(b.sizes, isinstance(lanes, str), most, here * work.seeds, multiple))
    widths = [dock.width for dock in docks]
    return Programs(made._replace(buckets=tuple(b._replace(lanes=w) for b, w in zip(made.buckets, widths, strict=True))), docks, count)


class _Builder:
    """Makes lanes of this work."""

    def __init__(self, study: Study, work: Work, shared: Lanes | None) -> None:
        from jaxhp.train import traced

        space = study.space
        self._work = work
        self._shared = shared
        self._known: dict[tuple[tuple[str, int], ...], Lanes] = {}  # the first ones of each sizes: checked, with the data on the device
        self._seed = study.seed
        self._metrics = tuple(o.name for o in study.outcomes)
        self.example = {name: column[0] for name, column in traced(space, space.default()[None]).items()}

    def __call__(self, sizes: Sizes | None, width: int) -> Lanes:
        """Lanes whose arrays are padded to these sizes; nothing is compiled."""
        from jaxhp.train import Lanes

        work, key = self._work, tuple(sorted((sizes or {}).items()))
        beside = self._known.get(key)
        trainable = work.trainable if beside is None else beside.trainable
        if sizes is not None and dict(trainable.sizes) != dict(trainable.sizes) | sizes:
            trainable = trainable.resized(sizes)
        named: Any = {"segment": work.segment, "seed": self._seed, "ragged": work.steps % work.segment != 0, "metrics": self._metrics}
        if self._shared is not None:
            return self._shared.shared(trainable, self.example, width, **named)
        lanes = Lanes(trainable, self.example, width, **named, mesh=work.mesh, beside=beside or next(iter(self._known.values()), None))
        self._known.setdefault(key, lanes)
        return lanes

    def widest(self, sizes: Sizes | None, lanes: int | str, most: int, multiple: int) -> Lanes:
        """Of the width that is given, or the fastest."""
        return self.narrow(sizes, True, most, most, multiple) if isinstance(lanes, str) else self(sizes, lanes)

    def narrow(self, sizes: Sizes | None, measure: bool, most: int, trainings: int, multiple: int) -> Lanes:
        """Of the fastest width up to `most`, or, unmeasured, of that with which measuring would begin."""
        from jaxhp.train._autotune import best_width, first_width

        if not measure:
            return self(sizes, first_width(most, multiple))
        return best_width(lambda width: self(sizes, width), most, trainings * self._work.steps / self._work.segment / 2, multiple)


def _remaining(study: Study, work: Work) -> int:
    return max(1, (work.trials if work.trials is not None else _UNKNOWN) - study._fold.told)


def same_buckets(study: Study, logged: Record, buckets: Wanted) -> None:
    """Refuses other buckets than those that the study was trained with."""
    if buckets not in ("auto", logged.get("buckets", 1)):
        raise StudyError(
            f"buckets={buckets!r}: study {study.name!r} trains with buckets={logged.get('buckets', 1)!r}, on which its numbers depend "
            "to the last bit; leave buckets out, or use another name for the study"
        )
