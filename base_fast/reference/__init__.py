"""The ops in plain PyTorch: readable as the formula, differentiable any number of times. They are the definition."""
