import torch

from fairseq.optim import LegacyFairseqOptimizer, register_optimizer


@register_optimizer("sign_sgd")
class FairseqSignSGD(LegacyFairseqOptimizer):
    """Momentum whose sign is the step; flags in `add_args`."""

    def __init__(self, args, params):
        super().__init__(args)
        self._optimizer = SignSGD(params, **self.optimizer_config)

    @staticmethod
    def add_args(parser):
        parser.add_argument("--sign-momentum", default=0.9, type=float, metavar="M", help="momentum")

    @property
    def optimizer_config(self):
        return {"lr": self.args.lr[0], "momentum": self.args.sign_momentum}


class SignSGD(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(p)
                state["buffer"].mul_(group["momentum"]).add_(p.grad)
                p.add_(state["buffer"].sign(), alpha=-group["lr"])
