"""A study's trials as a pandas table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxhp.errors import MissingExtra
from jaxhp.trial import Trial

if TYPE_CHECKING:
    import pandas as pd


def frame(trials: Sequence[Trial], parameters: Sequence[str], outcomes: Sequence[str]) -> pd.DataFrame:
    """See `Study.to_pandas`."""
    try:
        import pandas as pd
    except ImportError as e:
        raise MissingExtra('to_pandas needs pandas: pip install "jaxhp[plot]"') from e
    metrics = dict.fromkeys([*outcomes, *(name for trial in trials for name in trial.values)])
    differentiated = [name for name in parameters if any(name in trial.gradient for trial in trials)]
    rows = [
        {"number": t.number, "status": t.status.name.lower()}
        | {f"params.{name}": t.params.get(name) for name in parameters}
        | {f"values.{name}": t.values.get(name, math.nan) for name in metrics}
        | {f"gradient.{name}": t.gradient.get(name, math.nan) for name in differentiated}
        | {"seconds": t.seconds, "error": t.error}
        for t in trials
    ]
    groups = {"params": parameters, "values": metrics, "gradient": differentiated}
    columns = ["number", "status", *(f"{group}.{name}" for group, names in groups.items() for name in names), "seconds", "error"]
    return pd.DataFrame(rows, columns=columns)
