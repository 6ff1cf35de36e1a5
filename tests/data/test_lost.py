"""What of the messages a template leaves out."""

from easydel.data.lost import Text
from oracles import chat_formats
from oracles.rendered import NIGHT, SYSTEM, TOOL, TOOLS, USER, calls, preference, says, written


def test_what_the_template_leaves_out_is_said_with_whose_it_was():
    drops = (
        "{% for m in messages if m.role in kept %}"
        "{{ m.role + ':' + m.content.split('</think>')[-1] + ';' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    kept = {"kept": ["user", "assistant", "system", "tool"]}
    thought = says("blue", reasoning_content="hm")
    cases = [
        (preference(drops, [SYSTEM, USER], [says("blue")], kept=["user", "assistant"]), "a system message"),
        (preference(drops, [USER], [thought], **kept), "the reasoning of a completion"),
        (preference(drops, [USER], [says("<think>hm</think>blue")], **kept), "the reasoning of a completion"),
        (
            preference(drops, [USER, thought, NIGHT], [says("black")], **kept),
            "the reasoning of an assistant message in the prompt",
        ),
        (preference(drops, [USER], [says("blue")], tools=TOOLS, **kept), "the tools"),
        (preference(drops, [USER], [calls("Oslo", "Let me look.")], **kept), "a tool call of a completion"),
        (
            preference(drops, [USER, calls("Oslo", "Let me look."), TOOL], [says("cold")], kept=["user", "assistant"]),
            "the result of a tool",
        ),
        (preference(chat_formats.LLAMA_3, [USER], [calls("Oslo", "Let me look.")]), "the content of a completion"),
    ]
    for found, cause in cases:
        assert cause in found.lost
    assert preference(drops, [SYSTEM, USER], [says("blue")], **kept).lost == ()


def test_words_are_found_as_templates_write_them():
    text = Text('a: "no \\"way\\"", caf\\u00e9; two\nlines &lt;here&gt;')
    for words in ('no "way"', "café", " two   lines ", "two\nlines /no_think", "", "lines"):
        assert text.holds(words)
    for words in ("no ways", "blue", "12"):
        assert not text.holds(words)


def test_a_call_that_the_template_leaves_out_is_counted_wherever_its_turn_ends():
    """Phi 3 ends the whole text in a sign that no turn within has."""
    found = preference(chat_formats.PHI_3, [USER], [calls("Oslo"), NIGHT, says("cold")])
    assert written(found) == ["<|end|>\n", "cold<|end|>\n<|endoftext|>"]
    assert found.lost == ("a tool call of a completion",)
