"""Settings of all tests: how long an example takes says something of the machine and nothing of the code."""

import prometheus_client  # noqa: F401  first: Feast, as it is imported, has it keep values in files, which no process that serves does
from hypothesis import settings

settings.register_profile("lodestar", deadline=None)
settings.load_profile("lodestar")
