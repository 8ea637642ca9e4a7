"""Documents; `docs.generate` writes those that follow from the code."""
