"""Writes what transformers gives for every case, logits, greedy tokens and a step of DPO: `python -m oracles.make`.

To be run in `tests/` when a case is added; names of cases as arguments make only those anew. Needs torch, which the
tests do not (so it is imported inside); reads and writes model folders as a user of transformers does, so that the
names in the files are theirs.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from oracles.cases import BETA, CASES, NEW_TOKENS, PAIRS, PROMPT_LENGTH, REFERENCE, TOKENS, weight
from oracles.newer_families import NEWER_CASES

EXPECTED = Path(__file__).parent / "expected.npz"
NEWER = EXPECTED.with_name("expected_newer.npz")


def make_folder(folder: Path, source: dict[str, Any]) -> None:
    """Writes a case as a model folder, with the names and shapes that transformers gives its tensors."""
    import transformers
    from safetensors.numpy import load_file, save_file

    (folder / "config.json").write_text(json.dumps(source), encoding="utf-8")
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    shapes = {name: array.shape for name, array in load_file(folder / "model.safetensors").items()}
    tensors = {name: weight(source["model_type"], name, shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(source), encoding="utf-8")  # ours, not as transformers rewrote it


def answers(source: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (logits [length vocab] of `TOKENS`, the greedy tokens after its beginning, loss and gradient norm)."""
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), source)
        # A model each: dynamic scaling keeps the frequencies of the longest sequence it has seen.
        fresh = [
            transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
            for _ in range(3)
        ]
    with torch.no_grad():
        logits = fresh[0](torch.from_numpy(TOKENS)).logits[0]
        prompt = torch.from_numpy(TOKENS[:, :PROMPT_LENGTH])
        greedy = fresh[1].generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    return logits.float().numpy(), greedy[0, PROMPT_LENGTH:].numpy(), dpo_step(fresh[2])


def dpo_step(model: Any) -> np.ndarray:
    """Returns (loss, norm of the gradient) of the sigmoid loss on `PAIRS`, each sequence run alone.

    With experts the loss that keeps them equally used is added, of all sequences in one batch, as TRL does.
    """
    import torch

    losses = []
    for (prompt, *answers), reference in zip(PAIRS, REFERENCE, strict=True):
        rewards = []
        for answer, known in zip(answers, reference, strict=True):
            ids = torch.tensor([[*prompt, *answer]])
            chances = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1].float(), dim=-1)
            rewards.append(BETA * (chances.gather(1, torch.tensor(answer)[:, None]).sum() - known))
        losses.append(-torch.nn.functional.logsigmoid(rewards[0] - rewards[1]))
    loss = torch.stack(losses).mean()
    if "router_aux_loss_coef" in model.config.to_dict():
        sequences = [torch.tensor([*prompt, *answer]) for prompt, *answers in PAIRS for answer in answers]
        ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in sequences], batch_first=True)
        out = model(ids, attention_mask=mask, output_router_logits=True)
        loss = loss + model.config.router_aux_loss_coef * out.aux_loss
    loss.backward()
    squares = sum((parameter.grad**2).sum() for parameter in model.parameters() if parameter.grad is not None)
    return np.array([loss.item(), squares.sqrt().item()])


def main() -> None:
    """Writes `expected.npz` and `expected_newer.npz` beside this file."""
    chosen = sys.argv[1:] or list(CASES)
    for file, cases in ((NEWER, NEWER_CASES), (EXPECTED, CASES.keys() - NEWER_CASES)):
        write(file, [name for name in chosen if name in cases])


def write(file: Path, names: list[str]) -> None:
    """Writes what is known about these cases into a file, beside what it holds of others."""
    arrays = {}
    if file.exists():
        with np.load(file) as old:
            arrays = {name: array for name, array in old.items() if name.partition("/")[0] in CASES}
    for name in names:
        logits, greedy, step = answers(CASES[name])
        arrays |= {f"{name}/logits": logits, f"{name}/greedy": greedy.astype(np.int16), f"{name}/step": step}
    if names:
        np.savez_compressed(file, **arrays)
        print(f"{file.name}: {len(names)} cases anew, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
