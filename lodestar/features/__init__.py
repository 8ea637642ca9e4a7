"""Features, each declared once in `lodestar.schema`: batch builds (DuckDB, Spark), as-of join, and text embeddings."""
