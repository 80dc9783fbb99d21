"""Training made fast, and nothing else: cheap gradients for attacks, optimisers that start at once, steps as CUDA graphs."""
