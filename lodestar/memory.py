"""How much memory a process may still take, and a refusal before something is made that does not fit."""

from pathlib import Path

from lodestar.errors import EnvironmentFault

MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
UNKNOWN = 1 << 62  # where nothing says how much there is


def available() -> int:
    """Bytes that the machine has free and this process' group may take."""
    return min(_of_machine(), _of_group())


def require(needed: int, what: str, remedy: str) -> None:
    """EnvironmentFault E185 where so many bytes are not free."""
    free = available()
    if needed > free:
        raise EnvironmentFault("E185", f"{what} takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free", remedy=remedy)


def _of_machine() -> int:
    if not MEMINFO.is_file():
        return UNKNOWN
    lines = (line.partition(":") for line in MEMINFO.read_text().splitlines())
    return next((int(value.split()[0]) * 1024 for name, _, value in lines if name == "MemAvailable"), UNKNOWN)


def _of_group() -> int:
    """By the limit of a container: what its files in memory take can be had as well."""
    limit, used, stat = (GROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not all(file.is_file() for file in (limit, used, stat)) or limit.read_text().strip() == "max":
        return UNKNOWN
    files = (int(line.split()[1]) for line in stat.read_text().splitlines() if line.startswith("inactive_file "))
    return int(limit.read_text()) - int(used.read_text()) + next(files, 0)
