"""Writes the logits that PEFT gives for every case of adapters: `python -m oracles.make_adapters` in `tests/`.

Needs torch and peft, which the tests do not (so they are imported inside). Run it when a case is added.
"""

from pathlib import Path

import numpy as np

from oracles.adapters import ADAPTERS, adapter_weight
from oracles.cases import CASES, TOKENS, weight

EXPECTED = Path(__file__).parent / "expected_adapters.npz"


def logits_of(base: str, settings: dict) -> np.ndarray:
    """Returns the logits [length vocab] of `TOKENS` with the adapters of a case."""
    import peft
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(**CASES[base])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(weight(CASES[base]["model_type"], name, tuple(parameter.shape)))
    model.tie_weights()
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    tensors = peft.get_peft_model_state_dict(adapted)
    ours = {name: torch.from_numpy(adapter_weight(name, tuple(value.shape))) for name, value in tensors.items()}
    peft.set_peft_model_state_dict(adapted, ours)
    with torch.no_grad():
        return adapted.eval()(torch.from_numpy(TOKENS)).logits[0].float().numpy()


def main() -> None:
    """Writes `expected_adapters.npz` beside this file."""
    arrays = {name: logits_of(*case) for name, case in ADAPTERS.items()}
    np.savez_compressed(EXPECTED, **arrays)
    print(f"{EXPECTED.name}: {len(arrays)} cases, {EXPECTED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
