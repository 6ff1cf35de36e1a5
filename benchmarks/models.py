"""The models that are trained: small Llamas with random weights, made here, and `stories260k` from the shared folder.

A model is a plain Hugging Face folder in float32, written without any of the programs that are compared. Those of
published sizes (`shapes.py`), which need a GPU, are written by ours: random too, they are only too large for numpy.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.gpu.lengths import random_rows
from benchmarks.gpu.lengths import save_tokenizer as save_word_tokenizer
from benchmarks.pairs import read_rows, write_rows
from benchmarks.shapes import SHAPES, shape_config
from easydel.models.causal_lm import CausalLM

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAD, EOS = "<pad>", "</s>"
_STD = 0.02  # of the random weights, as transformers' initializer_range
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of a Llama with tied embeddings, and of its tokenizer."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    longest: int = 512

    def config(self) -> dict[str, object]:
        """Returns the `config.json`; the rotary base is the default one, which every version reads alike."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.hidden // self.heads,
            "max_position_embeddings": self.longest,
            "hidden_act": "silu",
            "initializer_range": _STD,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "dtype": "float32",
        }

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yields name and shape of every tensor, under the names of Hugging Face."""
        head_dim = self.hidden // self.heads
        yield "model.embed_tokens.weight", (self.vocab, self.hidden)
        for layer in range(self.layers):
            at = f"model.layers.{layer}"
            yield f"{at}.input_layernorm.weight", (self.hidden,)
            for name, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads)):
                yield f"{at}.self_attn.{name}_proj.weight", (heads * head_dim, self.hidden)
            yield f"{at}.self_attn.o_proj.weight", (self.hidden, self.heads * head_dim)
            yield f"{at}.post_attention_layernorm.weight", (self.hidden,)
            for name in ("gate", "up"):
                yield f"{at}.mlp.{name}_proj.weight", (self.mlp, self.hidden)
            yield f"{at}.mlp.down_proj.weight", (self.hidden, self.mlp)
        yield "model.norm.weight", (self.hidden,)


MADE = {
    "tiny": Sizes(hidden=32, mlp=64, layers=1, heads=4, kv_heads=2, vocab=512),
    "bench-7m": Sizes(hidden=256, mlp=688, layers=4, heads=8, kv_heads=4, vocab=16_384),
    "bench-40m": Sizes(hidden=512, mlp=1376, layers=8, heads=8, kv_heads=4, vocab=32_768),
}
FOUND = {"stories260k": SHARED / "models" / "stories260k"}
NAMES = (*MADE, *FOUND, *SHAPES)


def model_folder(name: str, data: Path, build: Path) -> Path:
    """Returns the folder of a model, made under `build` when it is not there yet; its tokenizer knows `data`.

    Raises:
        FileNotFoundError: a model that is not made here is not there.
    """
    if name in FOUND:
        if not FOUND[name].is_dir():
            raise FileNotFoundError(f"the model {name} is not at {FOUND[name]}: leave it out of --models.")
        return FOUND[name]
    if name in SHAPES:
        return _published(name, build / "models" / name)
    sizes = MADE[name]
    key = json.dumps([dataclasses.asdict(sizes), _SEED, hashlib.sha256(data.read_bytes()).hexdigest()])
    folder = build / "models" / name
    made_of = folder / "made_of.json"
    if not made_of.is_file() or made_of.read_text(encoding="utf-8") != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(sizes.config(), indent=2), encoding="utf-8")
        save_file(random_weights(sizes), folder / "model.safetensors", metadata={"format": "pt"})
        save_tokenizer(data, sizes.vocab, folder)
        made_of.write_text(key, encoding="utf-8")  # last: its presence says that the folder is complete
    return folder


def model_rows(name: str, data: Path, build: Path, count: int, max_length: int) -> Path:
    """Returns the file of the pairs that a model trains on: `data`, or for published sizes `count` random ones."""
    if name not in SHAPES:
        return data
    file = build / "rows" / f"{name}.jsonl"
    write_rows(file, random_rows(count, SHAPES[name]["vocab_size"], max_length))
    return file


def _published(name: str, folder: Path) -> Path:
    if not (folder / "tokenizer.json").is_file():
        CausalLM.from_config(shape_config(name)).save_pretrained(folder)
        save_word_tokenizer(SHAPES[name]["vocab_size"], folder)
    return folder


def random_weights(sizes: Sizes) -> dict[str, np.ndarray]:
    """Returns the tensors: normal with standard deviation 0.02 from a fixed seed, norms 1."""
    rng = np.random.default_rng(_SEED)

    def tensor(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        return rng.standard_normal(shape, np.float32) * np.float32(_STD)

    return {name: tensor(shape) for name, shape in sizes.shapes()}


def save_tokenizer(data: Path, vocab: int, folder: Path) -> None:
    """Trains a byte-level BPE of `vocab` tokens on all texts of the data and writes it into the folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for row in read_rows(data) for text in row.values())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
