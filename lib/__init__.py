"""certflow's engine: certified robustness of neural networks by smoothing. Works without Snakemake."""
