"""The compiled kernel (csrc/bindings.cpp). Arrays must be C-contiguous and of the dtype shown; nothing is copied or converted.

A wrong dtype or layout is a TypeError, a wrong shape or value a ValueError; both name the argument and what was seen.
"""

from typing import SupportsIndex, TypeAlias, final

import numpy as np
import numpy.typing as npt

from jaxhp._types import Posterior

def isa() -> str:
    """The instruction set in use: "avx512", "avx2" or "baseline"; the environment variable JAXHP_ISA forces one at import."""

def available_isas() -> list[str]:
    """The instruction sets of this build and machine, best first."""

def philox(
    seed: SupportsIndex, purpose: SupportsIndex, numbers: npt.NDArray[np.int64], d: SupportsIndex, attempt: SupportsIndex = 0
) -> npt.NDArray[np.float64]:
    """(k, d) uniforms in [0, 1): row i equals `Generator(Philox(key=[seed, purpose], counter=[0, numbers[i], attempt, 0])).random(d)`."""

def sobol(seed: SupportsIndex, numbers: npt.NDArray[np.int64], d: SupportsIndex, scramble: bool = True) -> npt.NDArray[np.float64]:
    """(k, d) points of the Sobol sequence by index (0 to 2^32 - 1), in (0, 1) when Owen-scrambled; d <= 256 when not.

    Scrambled points of more than 256 dims repeat the axes under other scrambles and shuffles of the index (Burley 2020).
    """

def transform(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) half-rank warped and standardised values; lower stays better, non-finite is worst, a constant gives zeros."""

def ppf(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) quantiles of the standard normal distribution; -inf at 0, inf at 1, NaN outside."""

def log_h(z: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """log h (n,) and its derivative (n,), with h(z) = phi(z) + z Phi(z): log expected improvement in units of the deviation."""

def log_cdf(z: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """log Phi (n,) and its derivative (n,) of the standard normal distribution."""

def predict(posterior: Posterior, u: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (m,) and variance (m,) of a posterior at u (m, d); NaN coordinates are inactive."""

def evaluate(
    posteriors: tuple[Posterior, ...],
    terms: npt.NDArray[np.float64],
    u: npt.NDArray[np.float64],
    seed: SupportsIndex,
    purpose: SupportsIndex,
    number: SupportsIndex,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Values (m,) and gradients (m, d) at u (m, d) of a sum of terms (t, 4): type, posterior, a, b (csrc/kernel.hpp, Term)."""

def best_of(
    posteriors: tuple[Posterior, ...],
    terms: npt.NDArray[np.float64],
    u: npt.NDArray[np.float64],
    k: SupportsIndex,
    seed: SupportsIndex,
    purpose: SupportsIndex,
    number: SupportsIndex,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]:
    """Indices (k',) and values (k',) of the best k rows of u, best first, and how many rows were scored exactly."""

def maximize(
    posteriors: tuple[Posterior, ...],
    terms: npt.NDArray[np.float64],
    dims: EncodedDims,
    centres: npt.NDArray[np.float64],
    existing: npt.NDArray[np.float64],
    extra: npt.NDArray[np.float64],
    spread: SupportsIndex,
    local: SupportsIndex,
    starts: SupportsIndex,
    iterations: SupportsIndex,
    allow_duplicates: bool,
    seed: SupportsIndex,
    purpose: SupportsIndex,
    number: SupportsIndex,
) -> tuple[npt.NDArray[np.float64], float, int, int, int]:
    """u (d,) canonical, value, how (csrc/kernel.hpp, How), points scored exactly, values with gradients."""

# rows (n,), weights (n,), weight of the prior, bandwidth (d,)
Estimator: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], float, npt.NDArray[np.float64]]

def log_density(
    dims: EncodedDims, u: npt.NDArray[np.float64], estimator: Estimator, at: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(m,) log densities at canonical points (m, d) of a Parzen estimator over rows of u (n, d) (csrc/parzen.hpp)."""

def propose(
    dims: EncodedDims,
    u: npt.NDArray[np.float64],
    ratios: tuple[tuple[Estimator, Estimator, float], ...],
    candidates: SupportsIndex,
    seed: SupportsIndex,
    purpose: SupportsIndex,
    number: SupportsIndex,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Canonical points (candidates, d), best first, and their scores (candidates,).

    A score is the sum over ratios (better, worse, share) of -log(share + (1 - share) worse / better) (csrc/propose.hpp).
    """

# `Strategy`, `Search` (jaxhp/samplers/_cma_update.py) and `Coordinates` (_cma_draw.py) by their fields
CmaStrategy: TypeAlias = tuple[int, int, int, npt.NDArray[np.float64], float, float, float, float, float, float, float, bool, int]
CmaSearch: TypeAlias = tuple[
    npt.NDArray[np.float64],
    float,
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    int,
]
CmaCoordinates: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]

def cma_update(
    made: CmaStrategy, search: CmaSearch, x: npt.NDArray[np.float64], foreign: npt.NDArray[np.bool_] | None, due: bool
) -> CmaSearch:
    """The distribution after points x (popsize, n), best first; B and D are new where a decomposition is `due` (csrc/cma.hpp).

    foreign (popsize,) says which points were not drawn from it. A covariance that is not finite is a ValueError.
    """

def cma_decompose(C: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """B (n, n) and D (n,), rising, with C = B diag(D^2) B^T; C's lower triangle counts."""

def cma_draw(
    coordinates: CmaCoordinates,
    search: CmaSearch,
    A: npt.NDArray[np.float64],
    q: npt.NDArray[np.float64],
    usual: npt.NDArray[np.int64],
    seed: SupportsIndex,
    purpose: SupportsIndex,
    numbers: npt.NDArray[np.int64],
    attempts: npt.NDArray[np.int64] | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Points v (k, d), x (k, n), levels (k, c), and the attempts (k,) at which their floats were within bounds.

    attempts (k,) are the first ones; None: 0. Row i depends on numbers[i] alone.
    """

@final
class EncodedDims:
    """The encoded space (docs/architecture.md); arguments are the columns of `Dims`, checked here with a ValueError each."""

    def __init__(
        self,
        kind: npt.NDArray[np.int8],
        low: npt.NDArray[np.float64],
        high: npt.NDArray[np.float64],
        levels: npt.NDArray[np.int64],
        parent: npt.NDArray[np.int32],
        allowed: npt.NDArray[np.bool_],
    ) -> None: ...
    @property
    def d(self) -> int: ...
    def snap(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, d) canonical points: clamped to [0, 1], discrete at level centres, NaN exactly where inactive.

        An active NaN is a ValueError naming row and dim.
        """

    def decode(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, d) plain values x of points u: a number for kinds 0 and 1, a level index for the others, NaN where u is NaN."""

    def encode(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n, d) points u of plain values x; NaN where x is NaN. A value out of range is a ValueError naming row and dim."""
