"""Sampling made fast, and nothing else: other forms of a network, each compared with the network itself (`steps`), and rows on
fixed memory for CUDA graphs (`row_loop`). Counts are those of the plain path beside this package."""
