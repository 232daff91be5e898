"""Trained models for other runtimes. `fairseq.export.onnx_file.export_onnx` is what `fairseq-export-onnx` calls."""
