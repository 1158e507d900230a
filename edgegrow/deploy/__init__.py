"""From a trained network to the files a device runs: one quantized graph, and writers that read it."""
