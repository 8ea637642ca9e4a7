"""Pages of `docs/reference`, each generated from the code's own tables; `make docs` writes them."""
