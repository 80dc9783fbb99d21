"""The generator made fast, and nothing else: in C on CPUs, in one kernel on GPUs. Its numbers are those of `noise.philox`."""
