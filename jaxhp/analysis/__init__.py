"""What a study's results say about its parameters: the surrogate that `bayes` would have, explained.

`_explain` fits it and judges it, `_relevance` says which parameters move it, `_scale` turns its values back into the
user's units, and `_explanation` is the answer: plain numbers, sentences, and predictions anywhere in the space.
"""

from __future__ import annotations

from jaxhp.analysis._explain import explain
from jaxhp.analysis._explanation import Explanation, LeaveOneOut, Relevance, Slice

__all__ = ["Explanation", "LeaveOneOut", "Relevance", "Slice", "explain"]
