"""Looking at a quantized model: traced GEMMs, error reports, bit operations, heatmaps, gradient diversity."""
