"""scikit-learn: `SearchCV`, an estimator like `RandomizedSearchCV` whose candidates our samplers suggest (docs/interop.md).

`pip install "jaxhp[sklearn]"`. Files: what may vary, as scikit-learn's users write it (`_space.py`), and the estimator (`_search_cv.py`).
"""

from __future__ import annotations

from jaxhp.errors import MissingExtra

try:
    import sklearn as _sklearn  # noqa: F401  # tells once what is missing
except ImportError as e:
    raise MissingExtra('jaxhp.interop.sklearn needs scikit-learn: pip install "jaxhp[sklearn]"') from e

from jaxhp.interop.sklearn._search_cv import SearchCV

__all__ = ["SearchCV"]
