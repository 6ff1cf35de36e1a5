#!/usr/bin/env bash
# A model folder whose `config.json` names an end (`eos_token_id`) stops there in `generate`, until a `generation_config.json`
# that names none lies beside it, as one with nothing but a temperature does: transformers 5.24.0 then takes the end from
# neither file, says nothing, and writes to the limit of tokens. A tuner that exports a model has to write the ends into
# `generation_config.json` where the base has such a file, whatever `config.json` says.
# Seen with transformers 5.24.0 and torch 2.13.0 on Python 3.11. Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
cd "$folder"
"$folder/env/bin/python" - 2>/dev/null <<'PY'
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    vocab_size=8,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    bos_token_id=1,
    eos_token_id=0,
)
model = LlamaForCausalLM(config)
with torch.no_grad():
    model.lm_head.weight.zero_()  # all tokens are as likely, and the first of them, 0, is taken
model.save_pretrained("model")
settings = Path("model/generation_config.json")


def ends_and_answer():
    model = AutoModelForCausalLM.from_pretrained("model")
    prompt = torch.tensor([[3, 4]])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, do_sample=False)
    return model.generation_config.eos_token_id, out[0, 2:].tolist()


settings.unlink()
found = ends_and_answer()
print("config.json alone: ends", *found)
assert found == (0, [0]), found
settings.write_text(json.dumps({"do_sample": True, "temperature": 0.6}))
found = ends_and_answer()
print("beside a generation_config.json with a temperature: ends", *found)
assert found == (None, [0] * 6), found
assert json.loads(Path("model/config.json").read_text())["eos_token_id"] == 0
PY
echo "as described"
