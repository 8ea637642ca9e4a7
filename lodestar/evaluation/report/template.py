"""Jinja templates of this folder, rendered to self-contained HTML pages (no external style, script or image)."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lodestar.evaluation.metric_titles import metric_title, title
from lodestar.process.safe_text import printable


def rendered(template: str, **values: Any) -> str:
    """Render a template of this folder; texts are escaped, and an undefined variable is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"number": _number, "signed": _signed, "title": title, "metric": metric_title}
    return environment.get_template(template).render(**values)


def _printable(value: Any) -> Any:
    """Texts of the data without invisible characters; `Markup` is our own and stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _number(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
