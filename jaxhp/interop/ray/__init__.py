"""Ray: trials on a cluster, and our samplers inside Ray Tune (docs/interop.md). `pip install "jaxhp[ray]"`.

`Executor` goes into `study.optimize(objective, executor=...)`: tasks or actors, with CPUs, GPUs and other resources for each.
`Searcher(jaxhp.bayes())` is a `ray.tune.search.Searcher`.

Files: the executor (`_executor.py`), Tune's search spaces (`_domains.py`), the searcher (`_searcher.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxhp.errors import MissingExtra

try:
    import ray as _ray  # noqa: F401  # tells once what is missing
except ImportError as e:
    raise MissingExtra('jaxhp.interop.ray needs ray: pip install "jaxhp[ray]"') from e

from jaxhp.interop.ray._executor import Executor

if TYPE_CHECKING:
    from jaxhp.interop.ray._searcher import Searcher

__all__ = ["Executor", "Searcher"]


def __getattr__(name: str) -> Any:
    if name == "Searcher":  # Tune, which workers that run trials need not load
        from jaxhp.interop.ray._searcher import Searcher

        return Searcher
    raise AttributeError(f"module 'jaxhp.interop.ray' has no attribute {name!r}")
