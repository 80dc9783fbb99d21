"""Training of denoisers: their objectives, ranges of noise levels, and the stage that makes those trained by themselves."""
