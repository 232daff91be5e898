"""Packaging entry: `pip install -c constraints.txt .` gives the library and the `fairseq-*` commands."""

from pathlib import Path

from setuptools import find_packages, setup

COMMANDS = {
    "fairseq-train": "train",
    "fairseq-hydra-train": "hydra_train",
    "fairseq-preprocess": "preprocess",
    "fairseq-validate": "validate",
    "fairseq-hydra-validate": "hydra_validate",
    "fairseq-prepare-glue": "prepare_glue",
    "fairseq-make-acceptability": "make_acceptability",
    "fairseq-plot": "plot",
    "fairseq-import-hf": "import_hf",
    "fairseq-quant-report": "quant_report",
    "fairseq-quantize-checkpoint": "quantize_checkpoint",
    "fairseq-precision-range-test": "precision_range_test",
    "fairseq-export-hf": "export_hf",
    "fairseq-export-onnx": "export_onnx",
}

setup(
    name="fairseq",
    version="1.0.0.dev0",
    description="Train, evaluate and ship transformers at any precision, with fairseq's commands and checkpoints",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["fairseq", "fairseq.*", "fairseq_cli", "fairseq_cli.*"]),
    package_data={
        "fairseq": ["config/**/*.yaml", "config/*.yaml", "native/src/*", "quantization/kernels/src/*", "py.typed"]
    },
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "hydra-core>=1.3.2,<1.4",
        "omegaconf>=2.3,<2.4",
        "sacrebleu>=2.4",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "tokenizers>=0.20",
        "safetensors>=0.4",
        "tqdm>=4.60",
    ],
    extras_require={
        "plot": ["matplotlib>=3.8"],
        "tensorboard": ["tensorboard>=2.14"],
        "wandb": ["wandb>=0.16"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.20"],
        "dev": ["pytest>=8", "hypothesis>=6", "ruff>=0.6", "mypy>=1.10", "matplotlib>=3.8", "tensorboard>=2.14"],
    },
    entry_points={"console_scripts": [f"{name}=fairseq_cli.{module}:cli_main" for name, module in COMMANDS.items()]},
)
