"""Products that a module's forward calls as functions, `q @ k.mT` or `F.scaled_dot_product_attention`, quantized.

`quantize_model(model, config, example_inputs=...)` finds them by one call (`plan/example_call.py`); each has a class
here that knows its quantizers and computes it with them. They are intercepted inside the forward that calls them
(`forward.py`) and nowhere else.
"""
