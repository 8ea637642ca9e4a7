"""Search and recommendations: data, features, models, training, evaluation, and the engine that answers. Knows no platform."""

DISTRIBUTION = "lodestar-recommender"  # what it is installed as: `lodestar` on PyPI is somebody else's
