"""A tiny Llama and preference pairs that come with the package; `scripts/quickstart/` in the repository makes both.

The model answers easy questions in a friendly and in a rude manner, about equally often. The pairs prefer the friendly
and correct answer. The eval pairs ask about things of which no training pair asks.
"""

from importlib.resources import files
from pathlib import Path


def model_folder() -> Path:
    """Returns the Hugging Face folder of the model and its tokenizer."""
    return _here() / "model"


def train_file() -> Path:
    """Returns the file of 1,200 pairs to train on: JSON lines with `prompt`, `chosen` and `rejected`."""
    return _here() / "train.jsonl"


def eval_file() -> Path:
    """Returns the file of 200 eval pairs, in the same form."""
    return _here() / "eval.jsonl"


def _here() -> Path:
    return Path(str(files(__name__)))
