"""Classification of rows of numbers as a plugin: `fairseq-train FILE.csv --user-dir examples/tabular ...`.

`--user-dir` imports what `tasks/` and `models/` register.
"""
