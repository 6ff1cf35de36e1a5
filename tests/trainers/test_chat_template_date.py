"""A run keeps the day it began with, though its chat template asks the clock."""

import importlib
from datetime import date, datetime
from pathlib import Path

import pytest

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.sharding import make_mesh
from easydel.trainers import chat_template_date
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.record.files import read_metrics
from oracles.runs import config, same_bits, tiny_config
from oracles.templates import tokenizer_for
from oracles.tiny import ONE_DEVICE

TEMPLATE = (
    "Today is {{ strftime_now('%d %b %Y') }}\n{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [
    {"prompt": f"Is {number} even?", "chosen": "Yes." if number % 2 == 0 else "No.", "rejected": "Who knows?"}
    for number in range(8)
]
CHATS = [
    {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
    }
    for row in ROWS
]


def let_it_be(monkeypatch: pytest.MonkeyPatch, day: date) -> None:
    """Both clocks show a day: ours, and that of transformers, which renders the template."""

    class Today(date):
        @classmethod
        def today(cls) -> date:
            return day

    class Now(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(day.year, day.month, day.day, 13, 30)

    monkeypatch.setattr(chat_template_date, "date", Today)
    monkeypatch.setattr(importlib.import_module("transformers.utils.chat_template_utils"), "datetime", Now)


def trainer(folder: Path, template: str = TEMPLATE, rows: list = CHATS, **options: object) -> ed.DPOTrainer:
    tokenizer = tokenizer_for(template, eos="<|im_end|>")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    of_model = tiny_config(vocab_size=len(tokenizer), **sizes, eos_token_id=tokenizer.eos_token_id)
    return ed.DPOTrainer(
        arguments=config(folder, max_length=128, save_steps=1, **options),
        model=CausalLM.from_config(of_model, mesh=make_mesh(ONE_DEVICE)),
        processing_class=tokenizer,
        train_dataset=rows,
        eval_dataset=rows[:2],
    )


def prompts(of: ed.DPOTrainer) -> set[str]:
    pairs = [*of._plan.data.loader.pairs, *of._plan.eval_sets["eval"].loader.pairs]
    return {of.processing_class.decode(pair.prompt).partition("\n")[0] for pair in pairs}


def test_a_run_that_is_continued_on_another_day_keeps_the_day_it_began_with(tmp_path, monkeypatch):
    let_it_be(monkeypatch, date(2026, 11, 28))
    whole = trainer(tmp_path / "whole", max_training_steps=2)
    assert prompts(whole) == {"Today is 28 Nov 2026"}
    whole = whole.train()
    first = trainer(tmp_path / "cut", max_training_steps=1)
    first.train()
    assert read_yaml(tmp_path / "cut" / "dpo" / "config.yaml")["chat_template_date"] == "2026-11-28"
    let_it_be(monkeypatch, date(2026, 12, 1))
    resumed = trainer(tmp_path / "cut", max_training_steps=2, resume="auto")
    assert prompts(resumed) == {"Today is 28 Nov 2026"}
    assert same_bits(resumed.train().model.params, whole.model.params)
    assert [entry["step"] for entry in read_metrics(tmp_path / "cut" / "dpo") if "loss" in entry] == [1, 2]


def test_a_new_run_takes_the_day_of_today_or_the_one_that_is_asked_for(tmp_path, monkeypatch):
    let_it_be(monkeypatch, date(2026, 11, 28))
    trainer(tmp_path, max_training_steps=1).train()
    let_it_be(monkeypatch, date(2026, 12, 1))
    assert prompts(trainer(tmp_path)) == {"Today is 01 Dec 2026"}
    assert prompts(trainer(tmp_path, chat_template_date="2024-07-26")) == {"Today is 26 Jul 2024"}
    assert prompts(trainer(tmp_path / "other", resume="auto")) == {"Today is 01 Dec 2026"}
    with pytest.raises(ed.ConfigError, match=r"chat_template_date was '2026-11-28', is '2026-12-01' now"):
        trainer(tmp_path, max_training_steps=1, resume="auto", chat_template_date="2026-12-01").train()


def test_the_day_is_said_at_the_start_and_only_where_a_template_asks(tmp_path, monkeypatch, capsys):
    let_it_be(monkeypatch, date(2026, 11, 28))
    trainer(tmp_path, max_training_steps=1, progress_bar_type="tqdm").train()
    assert "writes 2026-11-28 as today's date" in " ".join(capsys.readouterr().out.split())
    written = TEMPLATE.replace("strftime_now('%d %b %Y')", "'28 Nov 2026'")  # the same tokens: nothing to compile
    plain = trainer(tmp_path, written, max_training_steps=1, progress_bar_type="tqdm")
    assert plain.arguments.chat_template_date is None
    plain.train()
    assert "as today's date" not in capsys.readouterr().out


def test_the_day_of_a_yaml_file_needs_no_quotes(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("chat_template_date: 2026-11-28\n")
    assert ed.DPOConfig.from_yaml(file).chat_template_date == "2026-11-28"
