"""What every test shares: JAX on the CPU with a compilation cache of its own, and Hypothesis without randomness or deadlines (a busy
machine must not fail a test)."""

import atexit
import os
import shutil
import sys
import tempfile

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAXHP_CACHE"] = tempfile.mkdtemp(prefix="jaxhp-tests-")  # nothing is read from the user's cache, nor left in it
atexit.register(shutil.rmtree, os.environ["JAXHP_CACHE"], ignore_errors=True)

settings.register_profile("jaxhp", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("jaxhp")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Programs that JAX keeps for the next call would add up to gigabytes over all modules."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def compilations():
    """A list that grows by the seconds of each XLA compilation during a test."""
    import jax

    found = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def postgres(server):
    """A PostgreSQL server whose databases are lent to one test; see tests/postgres.py."""
    yield server
    server.take_back()


@pytest.fixture(scope="session")
def server():
    """The one that all tests share."""
    from postgres import shared

    server = shared()
    yield server
    server.close()
