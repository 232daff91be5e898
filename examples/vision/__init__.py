"""Image classification as a plugin: `fairseq-train DATA --user-dir examples/vision --task image_classification ...`.

`--user-dir` imports what `tasks/` and `models/` register.
"""
