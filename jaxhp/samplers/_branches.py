"""The branches that the best result is not in, for every fourth suggestion of a space with categories.

A branch is one level of one categorical coordinate. Once a branch is ahead, the surrogate of all results sees no more improvement in the
others, because what it has seen there was not tuned, and the search adds digits to a second-best branch for good. So there is a second
look, in which every branch is judged by its own results:

* the branches are those that differ from the best result in one category, the least visited ones first;
* one that has been visited fewer than `FEWEST` times is visited: the point of it where the surrogate of all results expects most
  improvement on the branch's own best;
* if there is none, `COMPARED` of them get a surrogate of their own results each, transformed together with the best result of all, and the
  branch that expects most improvement on that one is suggested from. So a branch that has been tuned and stays worse costs nothing more.

A branch is searched as a space of its own, in which its category has one level; there that coordinate is 0.5. There is no state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from jaxhp._kernel import EncodedDims
from jaxhp._types import Bools, Dims, Floats, Ints, Kind, Posterior
from jaxhp.samplers._model import Model, filled

EVERY: Final = 4  # one suggestion of so many looks here,
TURN: Final = 1  # those whose number leaves this, so that it never meets the neighbourhood's,
AFTER: Final = 30  # from so many results on
FEWEST: Final = 5  # results of a branch from which on they have a surrogate
COMPARED: Final = 3  # branches, at most
ROWS: Final = 64  # results that a surrogate stands on, at most
ITERATIONS: Final = 8  # of its fit
CENTRES: Final = 5  # best points that local candidates are drawn around,
OWN: Final = 3  # of which so many in a branch that is hardly known
_ONE_LEVEL: Final = 0.5  # where the only level of a coordinate lies
_NO_LEVEL: Final = -1.0  # and where none does


class Branch(NamedTuple):
    """One level of one categorical coordinate."""

    dim: int
    level: int
    at: float  # the coordinate of the level

    def holds(self, u: Floats) -> Bools:
        """Which of the points u (n, d) lie in it."""
        inside: Bools = np.abs(u[:, self.dim] - self.at) < 1e-9
        return inside

    def inward(self, u: Floats) -> Floats:
        """Points u (n, d) as points of the branch, with its category whatever it was."""
        v = u.copy()
        v[:, self.dim] = _ONE_LEVEL
        return v

    def outward(self, v: Floats) -> Floats:
        """A point v (d,) of the branch as one of the space."""
        u = v.copy()
        u[self.dim] = self.at
        return u

    def space(self, dims: Dims) -> EncodedDims:
        """The encoded space of the branch."""
        levels, allowed = dims.levels.copy(), dims.allowed.copy()
        levels[self.dim] = 1
        children = dims.parent == self.dim
        if children.any():  # else `allowed` may have fewer columns than levels
            allowed[children, 0] = dims.allowed[children, self.level]
        return EncodedDims(dims.kind, dims.low, dims.high, levels, dims.parent, allowed)

    def seen_by(self, posterior: Posterior) -> Posterior:
        """A posterior of the whole space, for points of the branch: a Hamming coordinate may be relabelled."""
        X = posterior.X.copy()
        x = posterior.X[self.dim]
        X[self.dim] = np.where(np.abs(x - self.at) < 1e-9, _ONE_LEVEL, np.where(x == _ONE_LEVEL, _NO_LEVEL, x))
        return posterior._replace(X=X)


class Look(NamedTuple):
    """A branch, and by what to search it."""

    branch: Branch
    posterior: Posterior  # of points of the branch
    incumbent: float  # what there is to improve on
    centres: Floats  # (c, d) points of the branch


def branches(dims: Dims, best: Floats) -> list[Branch]:
    """Those that differ from the point `best` (d,) in one category that is active there."""
    categories = np.flatnonzero((dims.kind == Kind.CATEGORICAL) & ~np.isnan(best))
    every = [Branch(int(j), level, (level + 0.5) / int(dims.levels[j])) for j in categories for level in range(int(dims.levels[j]))]
    return [branch for branch in every if not branch.holds(best[None])[0]]


def looks(model: Model, dims: Dims, posterior: Posterior, quality: Floats, waiting: Sequence[Floats]) -> Iterator[Look]:
    """The branches to choose a suggestion from: one that is hardly known, or else up to `COMPARED`.

    Args:
        model: with a posterior.
        dims: of the space.
        posterior: of all results, pending ones among them.
        quality: (rows,) of the rows that the model holds, smaller is better.
        waiting: pending points (d,), which are visits too.
    """
    u = model.u[model.held]
    best = int(np.argmin(quality))
    pending = np.array(waiting) if len(waiting) else np.empty((0, u.shape[1]))
    found = branches(dims, u[best])
    inside: dict[Branch, Ints] = {branch: np.flatnonzero(branch.holds(u)) for branch in found}
    visits = {branch: len(inside[branch]) + int(branch.holds(pending).sum()) for branch in found}
    found.sort(key=visits.__getitem__)
    if found and (visits[found[0]] < FEWEST or len(inside[found[0]]) < FEWEST):
        yield _hardly_known(found[0], posterior, quality, u, inside[found[0]])
        return
    for branch in found[:COMPARED]:
        rows = inside[branch]
        rows = np.sort(rows[np.argsort(quality[rows], kind="stable")[:ROWS]])
        look = _known(branch, model, u, rows, best, pending)
        if look is not None:
            yield look


def _hardly_known(branch: Branch, posterior: Posterior, quality: Floats, u: Floats, rows: Ints) -> Look:
    order = np.argsort(quality, kind="stable")
    own = rows[np.argsort(quality[rows], kind="stable")[:OWN]]
    centres = np.concatenate([u[own], u[order[: CENTRES - len(own)]]])
    incumbent = quality[own[0]] if len(own) else quality[order[0]]
    return Look(branch, branch.seen_by(posterior), float(incumbent), branch.inward(centres))


def _known(branch: Branch, model: Model, u: Floats, rows: Ints, best: int, pending: Floats) -> Look | None:
    from jaxhp.gp import append  # loads Numba, so not at import

    v = branch.inward(u[rows])
    fitted = model.refitted(model.held[rows], v, ITERATIONS, beside=model.held[best])
    if fitted is None:
        return None
    posterior, z = fitted
    for x in branch.inward(pending[branch.holds(pending)]):
        posterior = append(posterior, filled(x)) or posterior
    return Look(branch, posterior, float(z[-1]), v[np.argsort(z[:-1], kind="stable")[:CENTRES]])
