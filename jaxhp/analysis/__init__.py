"""What a study's results say: about its parameters, and about what further trials would bring.

`_explain` fits it and judges it, `_relevance` says which parameters move it, `_scale` turns its values back into the
user's units, and `_explanation` is the answer: plain numbers, sentences, and predictions anywhere in the space.
`_forecast` asks only how the told values fell so far: `_prospect` is the distribution of what is still to gain.
"""

from __future__ import annotations

from jaxhp.analysis._explain import explain
from jaxhp.analysis._explanation import Explanation, LeaveOneOut, Relevance, Slice
from jaxhp.analysis._forecast import Forecast, enough, forecast

__all__ = ["Explanation", "Forecast", "LeaveOneOut", "Relevance", "Slice", "enough", "explain", "forecast"]
