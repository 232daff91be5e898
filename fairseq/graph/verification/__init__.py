"""Whether a quantized model does what its plan says: `fairseq.graph.verify` and `fairseq-graph verify`."""
