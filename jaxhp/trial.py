"""One trial: a configuration, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jaxhp._rng import rng
from jaxhp._types import Floats, Outcome, Params, Status
from jaxhp.errors import StudyError
from jaxhp.space import Space


class Home(Protocol):
    """What a trial needs of its study, which may be elsewhere."""

    @property
    def space(self) -> Space:
        """The search space."""
        ...

    @property
    def seed(self) -> int:
        """The seed that names every draw."""
        ...

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The metrics."""
        ...

    def report(self, trial: Trial, step: float, value: float | Mapping[str, float]) -> bool:
        """Records an intermediate value; True when the trial is to end."""
        ...


class Trial:
    """A configuration that a study asked for; an objective receives it, `Study.tell` takes it back.

    Attributes:
        number: the trial's identity, counted from 0.
        params: the active hyperparameters, by name.
        seed: an integer in [0, 2**63) that depends on the study's seed and the number alone; seed your objective with it.
        value, values: the told objective, and every told metric; None and {} while the trial runs.
        gradient: the told slopes of the objective by parameter, in the user's units; {} where none were told.
        guard: which of them `study.train(adjoint=)` replaced or gave up, and why.
        status: a `Status`; error: the traceback or reason of a failure; seconds: from ask to tell.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.random_search(), seed=0)
    >>> trial = study.ask()
    >>> trial.number, trial["x"] == trial.params["x"]
    (0, True)
    """

    __slots__ = (
        "_params",
        "_space",
        "_study",
        "error",
        "gradient",
        "guard",
        "lease",
        "number",
        "replicate",
        "seconds",
        "status",
        "u",
        "values",
    )

    def __init__(
        self,
        study: Home,
        number: int,
        u: Floats,
        params: Params | None = None,
        *,
        status: Status = Status.PENDING,
        values: dict[str, float] | None = None,
        error: str | None = None,
        seconds: float = float("nan"),
        replicate: int = 0,
        lease: int | None = None,
    ) -> None:
        self._study = study
        self._space = study.space  # an extension of the space must not change what a running trial means
        self._params = params
        self.number = number
        self.u = u
        self.status = status
        self.values = values if values is not None else {}
        self.gradient: dict[str, float] = {}
        self.guard: dict[str, str] = {}
        self.error = error
        self.seconds = seconds
        self.replicate = replicate
        self.lease = lease  # which grant of the trial this is; one that was given to another since then is refused

    @property
    def params(self) -> Params:
        """The active hyperparameters as plain Python values, by name."""
        if self._params is None:
            self._params = self._space.params(self.u)
        return self._params

    @property
    def value(self) -> float | None:
        """The told value of the study's first metric."""
        return self.values.get(self._study.outcomes[0].name)

    @property
    def seed(self) -> int:
        """A seed for the objective, a function of (study seed, number, replicate)."""
        return int(rng(self._study.seed, self.number, "trial", self.replicate).integers(1 << 63))

    def __getitem__(self, name: str) -> Any:
        params = self.params
        if name in params:
            return params[name]
        if name in self._space.names:
            raise KeyError(f"{name!r} is inactive in trial {self.number}: its condition is not met; ask `{name!r} in trial` first")
        raise KeyError(f"{name!r} is not a parameter of this space; it has {', '.join(self._space.names)}")

    def __contains__(self, name: str) -> bool:
        return name in self.params

    def report(self, step: float, value: float | dict[str, float]) -> bool:
        """Records an intermediate value at a step (epochs, batches, samples); True means: stop now and return the last value.

        Raises:
            StudyError: the trial is already told, or the value lacks a metric.
        """
        if self.replicate:
            raise StudyError(
                f"trial {self.number} is being confirmed: a repeated evaluation does not report; guard with `if trial.replicate == 0`"
            )
        return self._study.report(self, step, value)

    def __repr__(self) -> str:
        told = "".join(f", {k}={v:.6g}" for k, v in self.values.items())
        return f"Trial({self.number}, {self.status.name.lower()}{told}, {self.params})"
