"""What every test shares: JAX on the CPU, and Hypothesis without randomness or deadlines (a busy machine must not fail a test)."""

import os

from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")

settings.register_profile("jaxhp", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("jaxhp")
