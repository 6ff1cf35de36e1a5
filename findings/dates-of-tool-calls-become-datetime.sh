#!/usr/bin/env bash
# Conversations in a `.jsonl` whose tool calls have a date among their arguments, {"day": "2026-11-29"}, lose it on the way to the
# tokens: where every message has the same keys, `datasets.load_dataset("json")` takes such text for a timestamp, at any
# depth, and the chat templates of Qwen write it through `tojson`, which in transformers has a word for every value that
# JSON has none for: the call becomes {"day": "<datetime>"}. No error, no warning, the loss falls; every date is the same.
# With "2026-11-29T10:00:00" it is the same; with a message that lacks the key `tool_calls` the column is of type Json, and
# the text stays text: which of the two happens depends on the other messages.
# Seen with datasets 5.2.0, transformers 5.24.0 and the templates in the wheel of trl 1.16.0 on Python 3.11.
# Exits with 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet datasets==5.2.0 transformers==5.24.0 jinja2==3.1.6
"$folder/env/bin/pip" install --quiet --no-deps trl==1.16.0
cd "$folder"
HF_HUB_OFFLINE=1 HF_HOME="$folder/cache" "$folder/env/bin/python" - 2>/dev/null <<'PY'
import importlib.util
import json
from pathlib import Path

from datasets import load_dataset
from transformers.utils.chat_template_utils import render_jinja_template

templates = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
call = {"type": "function", "function": {"name": "book", "arguments": {"day": "2026-11-29"}}}
answer = {"role": "assistant", "content": "", "tool_calls": [call]}


def written(asked, template):
    Path("pairs.jsonl").write_text(json.dumps({"messages": [asked, answer]}) + "\n")
    row = load_dataset("json", data_files="pairs.jsonl", split="train")[0]
    text = render_jinja_template([row["messages"]], chat_template=(templates / template).read_text())[0][0]
    return text[text.rindex('"day": ') : text.rindex('"day": ') + 20].split("}")[0]


for template in ("qwen2_5.jinja", "qwen3.jinja"):
    alike = written({"role": "user", "content": "Is it free?", "tool_calls": None}, template)
    other = written({"role": "user", "content": "Is it free?"}, template)
    print(f"{template}: keys alike {alike}, keys that differ {other}")
    assert alike == '"day": "<datetime>"', alike
    assert other == '"day": "2026-11-29"', other
PY
echo "as described"
