"""`python -m docs.generate`: write `docs/reference`, docs/datasets.md and the pictures anew. The same code gives the same bytes."""

from collections.abc import Callable
from pathlib import Path

from docs.generate import (
    architecture,
    commands,
    configuration,
    datasets,
    declaration,
    environment,
    errors,
    features,
    http,
    matrix,
    metrics,
    recipes,
    tables,
)
from docs.generate.markdown import code, paragraph, table

DOCUMENTS = Path(__file__).parents[1]
REFERENCE = DOCUMENTS / "reference"
INDEX = "README.md"

# By file name, what writes the page. A new page needs its line here and nothing else.
PAGES: dict[str, Callable[[], str]] = {
    "tables.md": tables.page,
    "declaration.md": declaration.page,
    "recipes.md": recipes.page,
    "configuration.md": configuration.page,
    "environment.md": environment.page,
    "features.md": features.page,
    "commands.md": commands.page,
    "http.md": http.page,
    "metrics.md": metrics.page,
    "errors.md": errors.page,
}
PICTURES: dict[str, Callable[[], str]] = {"architecture.svg": architecture.picture, "imports.svg": matrix.picture}


def pages() -> dict[str, str]:
    """Content of every page by its file name, the index included."""
    found = {name: make() for name, make in PAGES.items()}
    return {INDEX: _index(found), **found}


def main() -> None:
    """Write the pages and the pictures, and remove pages that nothing writes any more."""
    found = pages()
    for file in REFERENCE.glob("*.md"):
        if file.name not in found:
            file.unlink()
    for name, content in found.items():
        (REFERENCE / name).write_text(content)
    (DOCUMENTS / datasets.FILE).write_text(datasets.page())
    for name, draw in PICTURES.items():
        (DOCUMENTS / name).write_text(draw())


def _index(found: dict[str, str]) -> str:
    """The index: title and first sentence of each page."""
    rows = []
    for name, content in found.items():
        title, first = content.split("\n\n")[:2]
        rows.append((f"[{title.removeprefix('# ')}]({name})", " ".join(first.split()).partition(". ")[0].rstrip(".")))
    written = paragraph(f"These pages follow from the code: {code('make docs')} writes them, and a test holds them up to date.")
    return f"# Reference\n\n{written}\n{table(('page', 'content'), rows)}"


if __name__ == "__main__":
    main()
