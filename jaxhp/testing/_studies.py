"""What every study promises, whatever its sampler and its log: a suggestion is a pure function of the log before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jaxhp._types import Record
from jaxhp.errors import SpaceExhausted

if TYPE_CHECKING:
    from jaxhp.storage import Log
    from jaxhp.study import Study
    from jaxhp.trial import Trial

Suggested = list[tuple[int, bytes]]  # number and the bits of u


def check_study(make_study: Callable[..., Study], make_log: Callable[[], Log], *, trials: int = 14, lag: int = 8) -> None:
    """Checks all laws of a study.

    Args:
        make_study: called with `storage=` and, for one law, `lag=`; fix the rest with `functools.partial(Study, space, sampler=...)`.
        make_log: a new, empty log at each call.
        trials: length of the runs.
        lag: of the law about workers.

    Raises:
        AssertionError: a law is broken; the message says which and how.

    >>> from functools import partial
    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})
    >>> check_study(partial(jaxhp.Study, space, sampler=jaxhp.sobol()), jaxhp.storage.MemoryLog, trials=6)
    """
    resuming_equals_continuing(make_study, make_log, trials)
    replaying_the_log_equals_living(make_study, make_log, trials)
    asking_for_many_equals_asking_singly(make_study, make_log, trials)
    workers_do_not_matter_under_a_lag(make_study, make_log, trials, lag)


def resuming_equals_continuing(make_study: Callable[..., Study], make_log: Callable[[], Log], trials: int) -> None:
    """A study that is opened again after every few trials, some of them pending, suggests what one that was never closed suggests."""
    straight = _drive(lambda study: study, make_study(storage=make_log()), trials)
    for every in (1, 5):
        log = make_log()
        count = 0

        def reopened(study: Study, every: int = every, log: Log = log) -> Study:
            nonlocal count
            count += 1
            return make_study(storage=log) if count % every == 0 else study

        resumed = _drive(reopened, make_study(storage=log), trials)
        _check(straight, resumed, f"resuming equals continuing (opened again every {every} trials)")


def replaying_the_log_equals_living(make_study: Callable[..., Study], make_log: Callable[[], Log], trials: int) -> None:
    """At each suggestion in a log, a study that is given the records before it suggests the same."""
    log = make_log()
    study = make_study(storage=log)
    live = dict(_drive(lambda study: study, study, trials))
    records = log.read(study.name)
    asks = [i for i, record in enumerate(records) if record["kind"] == "ask" and "source" not in record]
    for i in asks[:: max(len(asks) // 5, 1)]:
        copy = make_log()
        copy.append(study.name, [_copied(record) for record in records[:i]], at=0)
        trial = make_study(storage=copy).ask()
        _check([(trial.number, live[trial.number])], [(trial.number, trial.u.tobytes())], f"replaying the log equals living (record {i})")


def asking_for_many_equals_asking_singly(make_study: Callable[..., Study], make_log: Callable[[], Log], trials: int) -> None:
    """`ask(n)` gives the trials that n asks give."""
    many, single = make_study(storage=make_log()), make_study(storage=make_log())
    got = [(t.number, t.u.tobytes()) for t in _up_to(many, trials)]
    expected = []
    for _ in range(trials):
        try:
            expected.append(single.ask())
        except SpaceExhausted:
            break
    _check([(t.number, t.u.tobytes()) for t in expected], got, f"ask({trials}) equals {trials} asks")


def workers_do_not_matter_under_a_lag(make_study: Callable[..., Study], make_log: Callable[[], Log], trials: int, lag: int) -> None:
    """With `lag=w`, 1 to w workers make the same trials."""
    made = {}
    for workers in (1, 2, lag):
        study = make_study(storage=make_log(), lag=lag)
        study.optimize(_objective(study), trials=trials, workers=workers)
        made[workers] = sorted((t.number, t.u.tobytes()) for t in study.finished)
        _check(made[1], made[workers], f"workers do not matter under lag={lag} ({workers} workers)")


def _drive(between: Callable[[Study], Study], study: Study, trials: int) -> Suggested:
    """A run with two trials pending, a failure now and then, and one configuration that the user asked for."""
    suggested: Suggested = []
    pending: list[int] = []
    for i in range(trials):
        study = between(study)
        if i == 4:
            study.enqueue(study.finished[0].params)
        try:
            trial = study.ask()
        except SpaceExhausted:
            break
        suggested.append((trial.number, trial.u.tobytes()))
        pending.append(trial.number)
        if len(pending) > 2:
            number = pending.pop(0)
            if number % 5 == 3:
                study.tell(number, error="this one fails")
            else:
                study.tell(number, _values(study, np.frombuffer(dict(suggested)[number])))
    return suggested


def _up_to(study: Study, n: int) -> list[Trial]:
    try:
        return study.ask(n)
    except SpaceExhausted:
        return []


def _values(study: Study, u: np.ndarray) -> dict[str, float]:
    loss = float(((np.nan_to_num(u, nan=0.5) - 0.3) ** 2).sum())
    return {outcome.name: loss + i for i, outcome in enumerate(study.outcomes)}


def _objective(study: Study) -> Callable[[Trial], dict[str, float]]:
    return lambda trial: _values(study, trial.u)


def _copied(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "seq"}


def _check(expected: Suggested, got: Suggested, law: str) -> None:
    if expected != got:
        number = next((a[0] for a, b in zip(expected, got, strict=False) if a != b), None)
        how = f"{len(expected)} trials against {len(got)}" if number is None else f"trial {number} differs"
        raise AssertionError(f"this study breaks the law '{law}': {how}")
