"""Bundle: a trained model with item table, catalogue and optional ranker in one folder; saved, loaded, validated and digested."""
