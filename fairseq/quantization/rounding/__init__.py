"""How values become codes: noise for stochastic rounding, straight-through gradients, learned scales and clipping."""
