"""Models: sequence encoders, closed-form families, ranker and rating prediction; forward computation and fitting, no training loop."""
