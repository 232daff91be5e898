"""Products of quantized operands, simulated and in integers, without nn.Modules of their own layers."""
