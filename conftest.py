"""What every run of pytest here has, also one over the doctests of `fairseq/` only."""

pytest_plugins = ["tests.skips"]
