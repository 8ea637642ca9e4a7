"""Execution of steps: logging and error handling, signals, the list of steps, and checks of a run's parameters."""
