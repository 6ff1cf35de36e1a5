"""Templates that write today's date: one day for a run, whatever the clock and the locale say."""

import locale
import pickle
from datetime import date, datetime

import pytest

from easydel.data.prepare import prepare
from easydel.data.template_date import asks_for_day, on_day, read_day
from easydel.data.token_cache import tokenizer_key
from easydel.errors import ConfigError
from oracles.templates import answered, each_template, needs_templates, real_templates, tokenizer_for
from oracles.tokenizers import tiny_tokenizer

DAY = date(2026, 3, 5)
TURNS = [{"role": "user", "content": "sky"}]
# As Llama 3.2 has it: the caller's date goes before that of the clock.
TEMPLATE = (
    "{%- if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif -%}"
    "{{ date_string }} {% for message in messages %}{{ message.content }}{% endfor %}"
)


def written(template: str, day: date = DAY, **options: object) -> str:
    return on_day(tiny_tokenizer(chat_template=template), day).apply_chat_template(TURNS, tokenize=False, **options)


@pytest.mark.parametrize(
    "format",
    [
        *("%Y-%m-%d", "%d %b %Y", "%B %d, %Y", "%d %B %Y", "%A, %d %B %Y", "%a %-d %b %y", "%-m/%-d/%Y", "%j %U %W %V"),
        *("%H:%M:%S", "%I:%M %p", "%F %T", "%D %R", "%c", "%x %X", "100%% on %Y", "%%Y", "%e %h", "%G-W%V-%u %w"),
        *("%f%Z%z", "no code", "%C%g %_d %^a %^B", "%k:%M %l %P %r", "a%nb%tc"),
    ],
)  # fmt: skip
def test_a_day_is_written_in_every_format_as_python_writes_it(format):
    for day in (DAY, date(2024, 12, 31), date(2021, 1, 3)):
        expected = datetime(day.year, day.month, day.day).strftime(format)
        assert written("{{ strftime_now('" + format + "') }}", day) == expected


def test_names_are_english_in_any_locale(monkeypatch):
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"):  # as many as this machine has
        try:
            locale.setlocale(locale.LC_TIME, name)
        except locale.Error:
            continue
        assert written("{{ strftime_now('%A %d %B %b') }}") == "Thursday 05 March Mar"
    locale.setlocale(locale.LC_TIME, "C")


def test_the_date_of_the_caller_goes_before_that_of_the_run():
    assert written(TEMPLATE) == "05 Mar 2026 sky"
    assert written(TEMPLATE, date_string="1 Jan 2020") == "1 Jan 2020 sky"


def test_the_day_is_known_within_macros_loops_and_each_of_several_templates():
    nested = "{% macro today() %}{{ strftime_now('%Y') }}{% endmacro %}{% for m in messages %}{{ today() }}{% endfor %}"
    assert written(nested) == "2026"
    tokenizer = tiny_tokenizer(
        chat_template={"default": TEMPLATE, "tool_use": "tools: " + TEMPLATE.replace("{%- if", "{% if", 1)}
    )
    pinned = on_day(tokenizer, DAY)
    assert pinned.apply_chat_template(TURNS, tokenize=False) == "05 Mar 2026 sky"
    assert pinned.apply_chat_template(TURNS, tokenize=False, chat_template="tool_use") == "tools: 05 Mar 2026 sky"


@pytest.mark.parametrize("start", ["\n", "\n\n ", "  ", "  {% if true %}\n{% endif %}", "{# it #}\n", "\t{#- it -#} "])
def test_white_space_at_the_start_of_a_template_stays(start):
    asking = "{% if strftime_now('%Y') %}|{% endif %}"
    expected = tiny_tokenizer(chat_template=start + asking).apply_chat_template(TURNS, tokenize=False)
    assert written(start + asking) == expected


def test_a_tokenizer_whose_template_does_not_ask_is_the_same_one_and_the_given_one_stays():
    plain, dated = tiny_tokenizer(chat_template="{{ messages[0].content }}"), tiny_tokenizer(chat_template=TEMPLATE)
    assert on_day(plain, DAY) is plain
    assert not asks_for_day(plain)
    assert not asks_for_day(None)
    pinned = on_day(dated, DAY)
    assert dated.chat_template == TEMPLATE
    assert asks_for_day(dated)
    assert not asks_for_day(pinned)
    assert on_day(pinned, date(2020, 1, 1)).chat_template == pinned.chat_template


def test_the_day_belongs_to_what_kept_token_ids_go_by_and_reaches_other_processes():
    dated = tiny_tokenizer(chat_template=TEMPLATE)
    one, other = on_day(dated, DAY), on_day(dated, date(2026, 3, 6))
    assert tokenizer_key(one) == tokenizer_key(on_day(dated, DAY)) != tokenizer_key(other)
    again = pickle.loads(pickle.dumps(one))
    assert again.apply_chat_template(TURNS, tokenize=False) == "05 Mar 2026 sky"
    rows = [{"prompt": TURNS, "chosen": [{"role": "assistant", "content": "blue"}], "rejected": TURNS}]
    rows[0]["rejected"] = [{"role": "assistant", "content": "red"}]
    tokenizer = tokenizer_for(TEMPLATE)
    first, second = (prepare(rows, on_day(tokenizer, date(2026, 3, number))).pairs for number in (5, 6))
    assert first != second
    assert tokenizer.decode(first[0].prompt) == "05 Mar 2026 sky"


def test_a_day_is_read_as_it_is_written_and_nothing_else_is():
    assert read_day("2026-03-05") == DAY
    for text in ("5 March 2026", "2026-13-01", "", "tomorrow"):
        with pytest.raises(ConfigError, match="is not a date: write YYYY-MM-DD"):
            read_day(text)


@each_template
def test_a_real_template_that_asks_for_the_date_gets_that_of_the_run(name):
    tokenizer = tokenizer_for(real_templates()[name], eos="</s>", bos="<s>")
    now, then = (answered(on_day(tokenizer, day), "sky?", "Blue.") for day in (date.today(), date(1987, 6, 5)))
    assert now == answered(tokenizer, "sky?", "Blue.")
    assert ("1987" in then) == (now != then)
    if name in ("trl/llama3_2", "llama.cpp/meta-llama-Llama-3.2-3B-Instruct"):
        assert "Today Date: 05 Jun 1987\n" in then


@needs_templates
def test_templates_of_several_families_ask_for_the_date():
    asking = {name for name, template in real_templates().items() if asks_for_day(tokenizer_for(template))}
    assert {"trl/llama3_2", "trl/gptoss"} <= asking
