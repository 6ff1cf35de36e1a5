"""Makes the tokenizer and the model of the quick start: `python scripts/quickstart/pretrain.py`, some minutes on CPU.

The model learns the facts and both manners of answering, so that DPO has a choice to make. Its weights are stored
in bfloat16 to fit into the package; loaded into float32 they are the same numbers.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from corpus import END_OF_TEXT, PAD, Rows, documents, packed_rows, train_tokenizer
from make_pairs import DATA, all_pairs
from tokenizers import Tokenizer

from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import Decoder, Params

VOCABULARY = 1_024
ROWS, LENGTH = 32, 128  # tokens of a step
STEPS = 800
LEARNING_RATE = 5e-3
TOKENIZER_DOCUMENTS = 20_000
# As pretraining writes documents: a turn each, the end of text after what the assistant says.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] | trim }}{{ eos_token }}"
    "{% else %}User: {{ message['content'] | trim }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def model_config(tokenizer: Tokenizer) -> ModelConfig:
    """Returns a Llama of 0.9 million parameters."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    return ModelConfig.from_hf(
        {
            "model_type": "llama",
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "eos_token_id": end,
            "pad_token_id": tokenizer.token_to_id(PAD),
        }
    )


def language_loss(params: Params, rows: Rows, decoder: Decoder) -> jax.Array:
    """Returns the mean cross-entropy of the next token within each document."""
    hidden, _ = decoder(params, rows.tokens, rows.segment, jnp.zeros_like(rows.segment), rows.position)
    losses = optax.softmax_cross_entropy_with_integer_labels(decoder.logits(params, hidden[:, :-1]), rows.tokens[:, 1:])
    inside = (rows.segment[:, 1:] == rows.segment[:, :-1]) & (rows.segment[:, 1:] > 0)
    return jnp.mean(losses, where=inside)


def make_step(decoder: Decoder, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """Returns (params, optimizer state, rows) -> (params, optimizer state, loss)."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Params, state: optax.OptState, rows: Rows) -> tuple[Params, optax.OptState, jax.Array]:
        loss, gradients = jax.value_and_grad(language_loss)(params, rows, decoder)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step


def pretrained(model: CausalLM, tokenizer: Tokenizer, steps: int) -> CausalLM:
    """Returns the model after `steps` updates, its weights rounded to bfloat16."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps, LEARNING_RATE / 50)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.05))
    step = make_step(model.decoder, optimizer)
    params, state = model.params, optimizer.init(model.params)
    end = tokenizer.token_to_id(END_OF_TEXT)
    documents_as_tokens = ([*tokenizer.encode(text).ids, end] for text in documents(seed=1))
    start = time.perf_counter()
    for number, rows in enumerate(islice(packed_rows(documents_as_tokens, ROWS, LENGTH), steps), 1):
        params, state, loss = step(params, state, rows)
        if number % 50 == 0:
            print(f"step {number}: loss {loss:.3f}, {time.perf_counter() - start:.0f} s", flush=True)
    rounded = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), params)
    return CausalLM(model.decoder, rounded, model.origin)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """Writes the two files from which `AutoTokenizer` loads it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def print_samples(model: CausalLM, tokenizer: Tokenizer, count: int = 12) -> None:
    """Prints answers to eval questions: what DPO starts from."""
    for pair in all_pairs()[1][:count]:
        prompt = tokenizer.encode(pair.prompt).ids
        tokens = model.generate(np.array([prompt]), max_new_tokens=64, temperature=0.7, seed=len(prompt))
        print(pair.prompt + tokenizer.decode(tokens[0, len(prompt) :].tolist()), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DATA / "model", help="where the model is written")
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of the weights")
    arguments = parser.parse_args()
    tokenizer = train_tokenizer(list(islice(documents(seed=0), TOKENIZER_DOCUMENTS)), VOCABULARY)
    config = model_config(tokenizer)
    model = pretrained(CausalLM.from_config(config), tokenizer, arguments.steps)
    model.save_pretrained(arguments.folder)
    save_tokenizer(tokenizer, arguments.folder, config.max_position_embeddings)
    print_samples(model, tokenizer)


if __name__ == "__main__":
    main()
