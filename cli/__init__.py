"""Command line: the `lodestar` command and its subcommands, the one place that knows every room."""
