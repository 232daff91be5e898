"""Training with the two plugins in plugins/, which are written for fairseq 0.12 and run unmodified on both sides.

`words(name, folder)` writes the run's data into `folder` and gives its command line; both sides start from the seed, so
the models are also built alike. Dropout is that of the plugins' own code: our modules draw other masks than fairseq's.
"""

import random
from collections.abc import Callable
from pathlib import Path

from training_cases import binarise

PLUGINS = Path(__file__).parent / "plugins"
SHARED = """--cpu --log-format json --log-interval 1 --num-workers 0 --no-epoch-checkpoints --max-update 30 --seed 5
    --required-batch-size-multiple 1"""
TAGGING = f"""{SHARED} --task tagging --criterion tagging --smoothing 0.1 --batch-size 7
    --best-checkpoint-metric tag_accuracy --maximize-best-checkpoint-metric"""
TINY = """{_name: roberta_tagger_tiny, encoder_layers: 2, tag_dropout: 0.0, dropout: 0.0, attention_dropout: 0.0}"""
COMMANDS = {
    # model, optimizer with add_args; task, criterion, schedule with dataclasses
    "roberta_tagger": (
        "train",
        f"""{TAGGING} --arch roberta_tagger_tiny --dropout 0 --attention-dropout 0 --tag-dropout 0 --longest 30
        --optimizer sign_sgd --sign-momentum 0.8 --lr 0.002 --lr-scheduler zigzag --period 7 --clip-norm 1.0""",
    ),
    # everything with dataclasses
    "conv_tagger": (
        "train",
        f"""{TAGGING} --arch conv_tagger --kernel-sizes [5,3] --activation-fn gelu --dropout 0.1 --order length
        --optimizer adam --lr 0.01 --lr-scheduler fixed --sentence-avg""",
    ),
    # everything with add_args
    "reversing": (
        "train",
        f"""{SHARED} --task reversing --criterion reversing_loss --first-letter-weight 2.5 --arch gru_reverser
        --hidden-dims [12] --dropout 0.2 --max-tokens 60 --optimizer nag --lr 0.1
        --lr-scheduler stairs --stair-updates 8 --clip-norm 0.5""",
    ),
    # fairseq's transformer, changed in two places
    "letters": (
        "train",
        f"""{SHARED} --task reversing --criterion reversing_loss --arch letter_transformer_tiny --dropout 0
        --decoder-normalize-before --share-decoder-input-output-embed --batch-size 9 --optimizer adam --lr 0.003
        --lr-scheduler inverse_sqrt --warmup-updates 5 --keep-order""",
    ),
    "conv_tagger by YAML": ("hydra_train", {"model": "{_name: conv_tagger, embed_dim: 20, dropout: 0.0}"}),
    "roberta_tagger by YAML": (
        "hydra_train",
        {"model": TINY},
    ),
}
YAML = """# @package _group_
common: {{cpu: true, log_format: json, log_interval: 1, seed: 5, user_dir: "{user_dir}"}}
task: {{_name: tagging, data: "???", order: length}}
criterion: {{_name: tagging, smoothing: 0.1}}
checkpoint: {{no_epoch_checkpoints: true, best_checkpoint_metric: tag_accuracy, maximize_best_checkpoint_metric: true}}
dataset: {{batch_size: 7, num_workers: 0, required_batch_size_multiple: 1}}
optimizer: {{_name: adam, adam_betas: "(0.9,0.98)"}}
lr_scheduler: {{_name: zigzag, period: 9}}
optimization: {{lr: [0.01], max_update: 30, clip_norm: 1.0}}
model: {model}
"""


def words(name: str, folder: Path, preprocess: Callable[[list[str]], None]) -> tuple[str, list[str]]:
    """The command and its words for run `name`, with data and plugin in place."""
    command, settings = COMMANDS[name]
    plugin = "reversing" if name in ("reversing", "letters") else "tagging"
    folder.mkdir(parents=True, exist_ok=True)
    data = write_lines(folder) if plugin == "reversing" else write_tags(folder, preprocess)
    if command == "train":
        user = ["--user-dir", str(PLUGINS / plugin), "--save-dir", str(folder / "out")]
        return command, [str(data), *user, *str(settings).split()]
    (folder / "config").mkdir(exist_ok=True)
    assert isinstance(settings, dict)
    (folder / "config" / "run.yaml").write_text(YAML.format(user_dir=PLUGINS / plugin, **settings))
    line = ["--config-dir", str(folder / "config"), "--config-name", "run", f"task.data={data}"]
    return command, [*line, f"checkpoint.save_dir={folder}/out", f"hydra.run.dir={folder}/hydra"]


def write_tags(folder: Path, preprocess: Callable[[list[str]], None]) -> Path:
    """Made-up sentences; a word's tag depends on its number and on the word in front."""
    draw = random.Random(2)
    for split, count in (("train", 80), ("valid", 16)):
        sentences = [[draw.randrange(40) for _ in range(draw.randrange(3, 15))] for _ in range(count)]
        for part in ("words", "tags"):
            (folder / "text" / part).mkdir(parents=True, exist_ok=True)
        with open(folder / "text" / "words" / split, "w") as file:
            file.writelines(" ".join(f"w{n}" for n in line) + "\n" for line in sentences)
        with open(folder / "text" / "tags" / split, "w") as file:
            for line in sentences:
                tags = (f"t{(n + (before % 2)) % 4}" for before, n in zip([0, *line], line, strict=False))
                file.write(" ".join(tags) + "\n")
    return binarise(folder, preprocess)


def write_lines(folder: Path) -> Path:
    draw = random.Random(3)
    for split, count in (("train", 90), ("valid", 12)):
        lines = [" ".join(draw.choices("abcdefgh", k=draw.randrange(2, 12))) for _ in range(count)]
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
    return folder
