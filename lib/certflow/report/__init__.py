"""Tables, figures and pages made from finished certificates. Torch-free; nothing here knows what Snakemake is."""
