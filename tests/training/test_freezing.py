"""`optimization.trainable`: what it leaves out keeps its values, has no optimizer state and costs no backward work."""

import torch

from fairseq import tasks
from fairseq.dataclass.initialize import compose
from fairseq.trainer import Trainer
from fairseq.training.trainable import select_trainable

HEADS = '["classification_heads.*"]'


def test_frozen_run_and_its_resume(runs):
    runs.trained("start", "--max-epoch", "1")
    start = runs.folder / "start" / "checkpoint_last.pt"
    fresh = [f"--reset-{what}" for what in ("optimizer", "dataloader", "meters", "lr-scheduler")]
    flags = ("--trainable", HEADS)
    result = runs.trained("whole", "--restore-file", start, *fresh, *flags)
    before, after = torch.load(start, weights_only=False), runs.checkpoint("whole")
    for name, value in after["model"].items():
        assert torch.equal(value, before["model"][name]) == (not name.startswith("classification_heads.")), name
    assert len(after["last_optimizer_state"]["state"]) == 4  # two layers, weight and bias
    assert "(num. trained: 306)" in result.out and "trained parameters: classification_heads." in result.out

    runs.trained("parts", "--restore-file", start, *fresh, *flags, "--max-update", "5")
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")


def test_no_backward_work_below_the_head(data):
    words = ["task=sentence_prediction", "criterion=sentence_prediction", "model=roberta", "optimizer=adam"]
    words += [f"task.data={data}", "task.num_classes=2", "lr_scheduler=fixed", "dataset.batch_size=4"]
    words += ["model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=16"]
    words += ["model.encoder_attention_heads=2", "optimization.trainable=[classification_heads.*]", "common.cpu=true"]
    words += ["optimization.lr=[0.01]", "model.max_positions=64", "task.max_positions=64"]
    cfg = compose(overrides=words)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    select_trainable(model, cfg.optimization.trainable)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    with_graph = []
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: (
                with_graph.append(name) if torch.is_tensor(output) and output.grad_fn is not None else None
            )
        )
    trainer.train_step([next(trainer.get_train_iterator(1).next_epoch_itr())])
    assert with_graph and all(name.startswith("classification_heads.") for name in with_graph)
    assert all((p.grad is not None) == name.startswith("classification_heads.") for name, p in model.named_parameters())
