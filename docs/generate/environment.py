"""The page of environment variables."""

from docs.generate.markdown import code, paragraph, table
from lodestar.process.environment_variables import VARIABLES


def page() -> str:
    """`environment.md`: every environment variable that Lodestar reads."""
    introduction = paragraph(
        "Environment variables say where things are and hold secrets; what a run does is in its recipe. On a cluster they come from the "
        f"ConfigMap {code('lodestar-settings')} and from Secrets, on a laptop from the shell."
    )
    rows = [(code(name), variable.description, "yes" if variable.is_secret else "") for name, variable in VARIABLES.items()]
    return f"# Environment variables\n\n{introduction}\n{table(('variable', 'what it is for', 'secret'), rows)}"
