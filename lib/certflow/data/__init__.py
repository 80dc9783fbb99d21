"""Datasets: prepared and opened by manifest (`store`), chosen from (`subset`), batched for training (`batches`).

Importing this loads no torch.
"""
