"""Free memory of the machine or the container's cgroup, and an error before an allocation that does not fit."""

from pathlib import Path

from lodestar.errors import EnvironmentFault

MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
UNLIMITED = 1 << 62  # neither /proc/meminfo nor a cgroup limit exists


def available() -> int:
    """Bytes that this process can still allocate: the smaller of the machine's free memory and the cgroup's."""
    return min(_machine_available(), _cgroup_available())


def require(needed: int, what: str, remedy: str) -> None:
    """Raise EnvironmentFault E185, which names `what`, if `needed` bytes are not free."""
    free = available()
    if needed > free:
        raise EnvironmentFault("E185", f"{what} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free", remedy=remedy)


def _machine_available() -> int:
    if not MEMINFO.is_file():
        return UNLIMITED
    lines = (line.partition(":") for line in MEMINFO.read_text().splitlines())
    return next((int(value.split()[0]) * 1024 for name, _, value in lines if name == "MemAvailable"), UNLIMITED)


def _cgroup_available() -> int:
    """Bytes left below the container's cgroup limit; its inactive page cache counts as free, since it can be reclaimed."""
    limit, used, stat = (GROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not all(file.is_file() for file in (limit, used, stat)) or limit.read_text().strip() == "max":
        return UNLIMITED
    page_cache = (int(line.split()[1]) for line in stat.read_text().splitlines() if line.startswith("inactive_file "))
    return int(limit.read_text()) - int(used.read_text()) + next(page_cache, 0)
