"""Process utilities: safe output, signals, parent death and child processes. Imports nothing of the library."""
