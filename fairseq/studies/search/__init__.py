"""`fairseq-search`: choose settings of a training run by Optuna's samplers.

config.py       what the YAML file says
dimensions.py   one thing to choose: choices or a range
spaces.py       all of them, and what a choice of each means: words of the command, passes
precision.py    a number format for each layer
architecture.py each dimension must change the model
objectives.py   what is to be large or small
costs.py        bits, memory, operations and latency of a model
stages.py       train, compress, fine-tune, score
samplers.py     Optuna's samplers and pruners, by name and seed
storage.py      where trials are kept; files that a killed process has left
workers.py      which processes are alive
trials.py       the next trial of a study, and what came of it
results.py      trials.csv, table.md; best.py: best.yaml, best.toml; pictures.py: plots
run.py          all of it
"""
