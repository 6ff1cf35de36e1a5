#!/usr/bin/env bash
# DPOTrainer of TRL 1.16.0 takes everything behind the prompt for the completion, also what the model never writes. Where
# an answer calls a tool, `completion_mask` is 1 over the result of the tool, the user header that Qwen 2.5's template
# puts around it, and the line break behind the last `<|im_end|>`: the policy is taught to prefer one tool's result to
# another's, and the log-probability of an answer grows with the length of what a tool returned. There is no setting
# as `assistant_only_loss` is for SFTTrainer, and no warning. The sums differ from those of a trainer that masks them.
# Seen with trl 1.16.0, transformers 5.24.0, torch 2.13.0 on Python 3.11; the template is the one in the wheel of trl.
# Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet trl==1.16.0 transformers==5.24.0 torch==2.13.0
cd "$folder"
"$folder/env/bin/python" - 2>/dev/null <<'PY'
from pathlib import Path

import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
bytes_only = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bytes_only.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bytes_only,
    eos_token="<|im_end|>",
    pad_token="<|endoftext|>",
    additional_special_tokens=["<|im_start|>"],
)
tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
)
LlamaForCausalLM(config).save_pretrained("model")
tokenizer.save_pretrained("model")


def answer(text):
    call = {"type": "function", "function": {"name": "lookup", "arguments": {"of": "sky"}}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "lookup", "content": "RESULT 42"},
        {"role": "assistant", "content": text},
    ]


row = {"prompt": [{"role": "user", "content": "sky?"}], "chosen": answer("blue"), "rejected": answer("red")}
arguments = trl.DPOConfig(output_dir="run", report_to=[], use_cpu=True, per_device_train_batch_size=2)
trainer = trl.DPOTrainer(
    "model", args=arguments, train_dataset=Dataset.from_list([row, row]), processing_class=tokenizer
)
batch = next(iter(trainer.get_train_dataloader()))
trained = tokenizer.decode(batch["input_ids"][0][batch["completion_mask"][0].bool()])
print("tokens with loss:", repr(trained))
assert "<|im_start|>user\n<tool_response>\nRESULT 42\n</tool_response><|im_end|>\n" in trained
assert trained.endswith("blue<|im_end|>\n")
PY
echo "as described"
