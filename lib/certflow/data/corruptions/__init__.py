"""Corrupted copies of test images (MNIST-C, CIFAR-10-C and the like): a model trained on clean images is certified on them."""
