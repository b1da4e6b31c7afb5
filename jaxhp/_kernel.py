"""The one door to the compiled kernel `jaxhp._core` (csrc/). Everything else imports the kernel from here."""

from __future__ import annotations

from jaxhp._core import EncodedDims, available_isas, isa, philox, ppf, sobol, transform

__all__ = ["EncodedDims", "available_isas", "isa", "philox", "ppf", "sobol", "transform"]
