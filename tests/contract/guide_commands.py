"""The commands of the guide to a cluster, as words."""

import re
import shlex
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "on-a-cluster.md"
TOOLS = ("kubectl", "kfp", "make", "lodestar")


def commands(tool: str) -> list[list[str]]:
    """What the guide says to type after a tool's name, in its blocks and within its lines; comments and what has `…` are left out."""
    content = GUIDE.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", content, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^ *```.*?^ *```", "", content, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    found = [line.strip() for line in lines if line.strip().startswith(f"{tool} ")]
    words = [shlex.split(line.removeprefix(tool), comments=True) for line in found if line.count("'") % 2 == 0]
    return [one for one in words if not any("…" in word for word in one)]
