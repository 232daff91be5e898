"""Composition: YAML files, defaults lists and dotted overrides become one typed root config, with Hydra underneath.

    repository.py   reads files as fairseq lays them out; every component is an option of its slot
    overrides.py    what a word on the command line means
    places.py       where relative paths lead
    loader.py       puts these together behind Hydra's loader interface
    runner.py       runs a command: one job or a sweep, `--cfg`, `--info`
    help.py         the text of `-h`

Library users call `fairseq.dataclass.initialize.compose`.
"""
