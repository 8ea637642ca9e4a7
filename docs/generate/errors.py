"""Page of the error codes: what each means, the exit code and HTTP status that go with it, and what to do."""

from itertools import groupby

from docs.generate.markdown import paragraph, table
from lodestar.error_codes import CODES, ErrorCode

INTRODUCTION = """Every error code with its meaning, exit code, HTTP status and remedy. A message begins with its code, and goes on with the
place, the value and a remedy that fits them, as in `lodestar: E106 events.csv, line 3, column event_time: …`; an HTTP answer has it as
`code`. A code has one meaning."""

STATUSES = """A command ends with the exit code: 0 is success, 2 an invalid command line, recipe or override, 3 data, 4 a gate or a
test that failed, 5 the environment. A row error of a collector or predictor is HTTP 422; codes that
begin with E4 are of requests alone, and one with the number of an HTTP status has that status."""

# Headings, by the first code below each.
SECTIONS = {
    "E101": "Data",
    "E150": "Features, bundles and evaluations",
    "E170": "Files and parts",
    "E180": "Recipes and models",
    "E201": "Too few data",
    "E220": "Gates and tests",
    "E300": "Command lines",
    "E400": "Requests",
    "E501": "Machines, stores and downloads",
    "E530": "Training and jobs on Kubernetes",
    "E551": "Online store",
    "E560": "Published files and stores",
    "E570": "Rollouts and steps",
    "E580": "Servers",
    "E590": "Training jobs",
}


def page() -> str:
    """The page as Markdown."""
    parts = [f"# Errors\n\n{paragraph(INTRODUCTION)}\n{paragraph(STATUSES)}"]
    for first, rows in groupby(CODES.items(), key=lambda row: max(code for code in SECTIONS if code <= row[0])):
        cells = [_cells(code, row) for code, row in rows]
        parts.append(f"## {SECTIONS[first]}\n\n{table(('code', 'meaning', 'exit code', 'HTTP', 'remedy'), cells)}")
    return "\n".join(parts)


def _cells(code: str, row: ErrorCode) -> tuple[str, ...]:
    """A row's cells; an exit code or status that there is not is left empty."""
    exit_code, status = ("" if number is None else str(number) for number in (row.exit_code, row.http_status))
    return code, row.meaning, exit_code, status, row.remedy.replace("<", "\\<")
