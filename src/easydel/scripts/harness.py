"""A model for EleutherAI's lm-eval: log-likelihoods and continuations. Needs the extra `eval`.

https://github.com/EleutherAI/lm-evaluation-harness, `docs/model_guide.md` there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]  # an extra
from lm_eval.utils import (  # pyright: ignore[reportMissingImports]
    get_rolling_token_windows,
    make_disjoint_window,
)

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import COMPILER_OPTIONS, Decoder, Params
from easydel.sharding import row_shards
from easydel.trainers.completion_ends import end_token_ids

_LENGTHS = 64  # rows are padded to a multiple of this, so that few programs are compiled
_NEW_TOKENS = 256  # where a task does not say how many


class Scored(NamedTuple):
    """The scores of each row of a batch."""

    logps: Float[Array, "batch"]  # of its continuation, summed over tokens
    greedy: Bool[Array, "batch"]  # whether greedy decoding would have written it


class HarnessLM(TemplateLM):
    """A model and its tokenizer, for `lm_eval.simple_evaluate(model=...)`.

    Args:
        batch_size: rows at a time.
        max_length: tokens of a context and its continuation together, of which the last are kept; None for the model's
            `max_position_embeddings`.

    Raises:
        ConfigError: the tokenizer has no end-of-sequence token.
    """

    def __init__(self, model: CausalLM, tokenizer: Any, *, batch_size: int = 8, max_length: int | None = None) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token, which lm-eval puts before an empty context.")
        self.model, self.tokenizer = model, tokenizer
        self._ends = end_token_ids(tokenizer, model)
        self._batch_size = batch_size + -batch_size % row_shards(model.decoder.mesh)
        self._max_length = max_length or model.config.max_position_embeddings

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The id that stands before a text without a context."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        """What cached requests go by."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **unused: Any) -> list[int]:
        """Returns the ids of a text; None adds what the tokenizer adds, unless the text begins with it already."""
        begin = self.tokenizer.bos_token
        special = not (begin and string.startswith(begin)) if add_special_tokens is None else add_special_tokens
        return self.tokenizer.encode(string, add_special_tokens=special)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Returns a conversation as the model's own template writes it."""
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **unused: Any
    ) -> list[tuple[float, bool]]:
        """Returns log-likelihood and greediness of each continuation after its context."""
        return self._scores([(context, continuation) for _, context, continuation in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Returns the log-likelihood of each whole text, each token after as many as fit before it."""
        found = []
        for request in requests:
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self._max_length - 1,
                context_len=1,
            )
            found.append(sum(logp for logp, _ in self._scores(list(map(make_disjoint_window, windows)))))
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Returns what the model writes after each context, up to the first of the strings that end it.

        Raises:
            ConfigError: a task asks for `max_length` new tokens or more, which leaves no room for its context.
        """
        for request in requests:
            if _new_tokens(request.args[1]) >= self._max_length:
                raise ConfigError(
                    f"a task asks for {_new_tokens(request.args[1])} new tokens (max_gen_toks), which leaves no room "
                    f"for its context in max_length = {self._max_length}: raise max_length, or lower max_gen_toks in "
                    "the task."
                )
        found: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        for numbers in groups.values():
            settings = requests[numbers[0]].args[1]
            for some in _batches(numbers, self._batch_size):
                contexts = [requests[number].args[0] for number in some]
                answers = self._written(contexts, settings, seed=some[0])  # one seed would draw the same in each batch
                found |= dict(zip(some, answers, strict=True))
        return [found[number] for number in range(len(requests))]

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        order = sorted(range(len(pairs)), key=lambda at: -len(pairs[at][0]) - len(pairs[at][1]))  # little padding
        found: dict[int, tuple[float, bool]] = {}
        for some in _batches(order, self._batch_size):
            rows = [self._row(*pairs[at]) for at in some]
            rows += [([self.eot_token_id], 0)] * (self._batch_size - len(rows))
            scored = jax.device_get(_scored(self.model.decoder, self.model.params, *_padded(rows)))
            found |= {at: (float(scored.logps[i]), bool(scored.greedy[i])) for i, at in enumerate(some)}
        return [found[at] for at in range(len(pairs))]

    def _row(self, context: list[int], continuation: list[int]) -> tuple[list[int], int]:
        """Returns the ids of a row, cut to the last that fit, and how many of them are continuation."""
        if len(continuation) >= self._max_length:
            raise ConfigError(
                f"a continuation of {len(continuation)} tokens does not fit in max_length = {self._max_length}: raise "
                "max_length, or leave the task out."
            )
        return [*context, *continuation][-self._max_length :], len(continuation)

    def _written(self, contexts: Sequence[str], settings: Mapping[str, Any], *, seed: int) -> list[str]:
        until = settings.get("until") or []
        until = [until] if isinstance(until, str) else until
        new = _new_tokens(settings)
        kept = self._max_length - new
        # As many rows each time, of which the last is repeated: another number would be another program.
        filled = [*contexts, *[contexts[-1]] * (self._batch_size - len(contexts))]
        tokens, mask, _ = _padded([(self.tok_encode(context)[-kept:], 0) for context in filled], left=True)
        out = self.model.generate(
            tokens,
            mask,
            max_new_tokens=new,
            temperature=settings.get("temperature", 1.0) if settings.get("do_sample") else 0.0,
            top_p=settings.get("top_p", 1.0),
            top_k=settings.get("top_k", 0),
            seed=seed,
            eos_token_id=self._ends,
        )
        texts = self.tokenizer.batch_decode(out[: len(contexts), tokens.shape[1] :].tolist(), skip_special_tokens=True)
        return [_up_to(text, until) for text in texts]


def _new_tokens(settings: Mapping[str, Any]) -> int:
    """Returns how many tokens a task wants at most."""
    return settings.get("max_gen_toks", _NEW_TOKENS)


def _up_to(text: str, ends: Iterable[str]) -> str:
    """Returns a text up to the first of some ends.

    >>> _up_to("4. Next: 5", [":", ". "])
    '4'
    """
    for end in filter(None, ends):
        text = text.split(end)[0]
    return text


def _batches(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))


def _padded(rows: Sequence[tuple[list[int], int]], *, left: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ids, mask and where continuations are, [rows, length], of ids and how many at their end are counted."""
    longest = max(len(ids) for ids, _ in rows)
    shape = (len(rows), longest + -longest % _LENGTHS)
    tokens, mask, counted = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, bool)
    for row, (ids, wanted) in enumerate(rows):
        first = shape[1] - len(ids) if left else 0
        tokens[row, first : first + len(ids)] = ids
        mask[row, first : first + len(ids)] = 1
        counted[row, first + len(ids) - wanted : first + len(ids)] = True
    return tokens, mask, counted


@partial(jax.jit, static_argnums=0, compiler_options=COMPILER_OPTIONS)
def _scored(
    decoder: Decoder,
    params: Params,
    tokens: Int[Array, "batch length"],
    mask: Int[Array, "batch length"],
    counted: Bool[Array, "batch length"],
) -> Scored:
    """Returns the scores of the counted tokens, each predicted at the one before it."""
    position = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
    hidden, _ = decoder(params, tokens, mask, jnp.zeros_like(mask), position, sequences=len(tokens))

    def of_row(row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        hidden, targets, wanted = row
        logits = decoder.logits(params, hidden[None])[0]
        logps = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], axis=1)[:, 0]
        greedy = jnp.all(jnp.where(wanted, jnp.argmax(logits, axis=1) == targets, True))
        return jnp.sum(jnp.where(wanted, logps, 0.0)), greedy

    # Row by row: the logits of a whole batch may be larger than the model.
    return Scored(*jax.lax.map(of_row, (hidden[:, :-1], tokens[:, 1:], counted[:, 1:])))
