"""Pipelines that connect the steps; compiled to one YAML file that runs on a laptop and on a cluster."""
