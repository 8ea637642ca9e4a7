"""Pages that need nothing beside them, not even a network."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lodestar.evaluation.names import metric_title, title
from lodestar.safe_text import printable


def rendered(template: str, **values: Any) -> str:
    """A template of this folder; texts are escaped, and a value that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_fit,
    )
    environment.filters |= {"number": _number, "signed": _signed, "title": title, "metric": metric_title}
    return environment.get_template(template).render(**values)


def _fit(value: Any) -> Any:
    """Texts of the data without characters that a reader would not see; what is markup already is ours."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _number(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
