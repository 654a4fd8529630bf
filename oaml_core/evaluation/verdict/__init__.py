"""Judge a model: results, comparison with the model in production, and the promotion gate."""
