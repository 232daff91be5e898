"""fairseq: train, evaluate and ship transformers at any precision, with fairseq's commands, configs and checkpoints."""

__version__ = "1.0.0.dev0"


def __getattr__(name: str) -> object:
    if name == "hydra_init":  # plugins call it before they use Hydra themselves
        from fairseq.dataclass.initialize import hydra_init

        return hydra_init
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
