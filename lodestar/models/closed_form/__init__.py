"""Models without a training loop: EASE, item-KNN, iALS, graph filters, co-occurrence, popularity."""
