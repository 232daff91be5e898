"""Real GLUE data from TSV files to a validated checkpoint, from the command line: every dev example is scored once.

Then fairseq's own fine-tuning command starts from the checkpoint that such a run wrote.
"""

import subprocess
import sys

import pytest
import torch

from fairseq.tasks.sentence_prediction import SentencePredictionTask

# task -> (config, dev examples, metric that the config selects on)
TASKS = {
    "RTE": ("rte", 277, "accuracy"),
    "CoLA": ("cola", 1043, "mcc"),
    "SST-2": ("sst_2", 872, "accuracy"),
    "STS-B": ("sts_b", 1500, "pearson_and_spearman"),
    "WNLI": ("wnli", 71, "accuracy"),
}
TINY = """
    model.encoder_layers=1 model.encoder_embed_dim=16 model.encoder_ffn_embed_dim=32 model.encoder_attention_heads=2
    dataset.num_workers=0 dataset.batch_size_valid=64 common.cpu=true lr_scheduler.warmup_updates=1
""".split()  # noqa: SIM905 - a command line


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a command inside this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(module, *words):
        main = __import__(f"fairseq_cli.{module}", fromlist=["cli_main"]).cli_main
        monkeypatch.setattr(sys, "argv", [f"fairseq-{module}", *map(str, words)])
        main()

    return run


@pytest.mark.parametrize("task", TASKS)
def test_from_tsv_files_to_a_validated_checkpoint(task, call, glue_dir, bpe_dir, repository, tmp_path, monkeypatch):
    config, examples, metric = TASKS[task]
    scored = []
    reduce = SentencePredictionTask.reduce_metrics

    def counting(self, logging_outputs, criterion):
        if not criterion.training:
            scored.append(sum(int(output["nsentences"]) for output in logging_outputs))
        return reduce(self, logging_outputs, criterion)

    monkeypatch.setattr(SentencePredictionTask, "reduce_metrics", counting)
    call("prepare_glue", "--task", task, "--glue-dir", glue_dir, "--bpe-dir", bpe_dir, "--dest", "bin")
    words = ["--config-dir", repository / "examples/roberta/config/finetuning", "--config-name", config]
    words += ["task.data=bin", "checkpoint.save_dir=run", "optimization.max_update=3", *TINY]
    call("hydra_train", *words)
    state = torch.load(tmp_path / "run" / "checkpoint_best.pt", weights_only=False)
    assert state["cfg"]["checkpoint"]["best_checkpoint_metric"] == metric
    assert state["extra_state"]["best"] == pytest.approx(state["extra_state"]["val_loss"])
    assert sum(scored[1:]) == examples  # the first batch was also scored once before training, to check the metric

    scored.clear()
    call("validate", "bin", "--task", "sentence_prediction", "--path", "run/checkpoint_best.pt", "--batch-size", 100)
    assert sum(scored) == examples


def test_fairseqs_fine_tuning_command(glue_dir, bpe_dir, repository, tmp_path):
    """As fairseq's README has it, quotes included; tiny sizes are added behind."""

    def shell(command, *more):
        line = f"CUDA_VISIBLE_DEVICES=0 {sys.executable} -m fairseq_cli.{command} {' '.join(map(str, more))}"
        env = {"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr + done.stdout[-2000:]
        return done.stdout

    shell(f"prepare_glue --task RTE --glue-dir {glue_dir} --bpe-dir {bpe_dir} --dest RTE-bin")
    command = f"hydra_train --config-dir {repository}/examples/roberta/config/finetuning --config-name rte"
    tiny = [*TINY, "optimization.max_update=2"]
    shell(command, "task.data=RTE-bin", "checkpoint.save_dir=first", *tiny)
    start = tmp_path / "first" / "checkpoint_last.pt"
    data = tmp_path / "RTE-bin"
    out = shell(command, f"'task.data=\"{data}\"'", f"'checkpoint.restore_file=\"{start}\"'", *tiny)
    assert f"Loaded checkpoint {start}" in out and "common.fp16 needs a GPU" in out
    assert '"valid_num_updates": "2"' in out
