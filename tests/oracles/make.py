"""Writes the logits and greedy tokens that transformers gives for every case: `python -m oracles.make` in `tests/`.

Needs torch, which the tests do not (so it is imported inside). Run it when a case is added.
"""

from pathlib import Path

import numpy as np

from oracles.cases import CASES, NEW_TOKENS, PROMPT_LENGTH, TOKENS, weight

EXPECTED = Path(__file__).parent / "expected.npz"


def answers(source: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns (logits [length vocab] of `TOKENS`, the greedy tokens after its beginning)."""
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(**source)
    # A model each: dynamic scaling keeps the frequencies of the longest sequence it has seen.
    models = [transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager") for _ in range(2)]
    for model in models:
        model.eval()
        for name, parameter in model.named_parameters():
            parameter.data = torch.from_numpy(weight(name, tuple(parameter.shape)))
        model.tie_weights()
    with torch.no_grad():
        logits = models[0](torch.from_numpy(TOKENS)).logits[0]
        prompt = torch.from_numpy(TOKENS[:, :PROMPT_LENGTH])
        greedy = models[1].generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    return logits.float().numpy(), greedy[0, PROMPT_LENGTH:].numpy()


def main() -> None:
    """Writes `expected.npz` beside this file."""
    arrays = {}
    for name, source in CASES.items():
        logits, greedy = answers(source)
        arrays |= {f"{name}/logits": logits, f"{name}/greedy": greedy.astype(np.int16)}
    np.savez_compressed(EXPECTED, **arrays)
    print(f"{EXPECTED.name}: {len(CASES)} cases, {EXPECTED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
