"""The beginning of an answer that some chat templates write behind every conversation, asked for or not.

The first template of Llama 3, and those made after it, end each text in the header of the assistant: behind an answer
that is the beginning of a next one, which no model writes.
"""

from collections.abc import Callable, Sequence

from easydel.data.messages import Message

# Words that no template writes by itself.
_ASKED, _SAID, _MORE = "qzask", "qzsay", "qzmore"
_TURNS: tuple[Message, ...] = (
    {"role": "user", "content": _ASKED},
    {"role": "assistant", "content": _SAID},
    {"role": "user", "content": _MORE},
)


def needless_header(write: Callable[[Sequence[Message], bool], str | None], bos: str | None) -> str:
    """Returns what a template writes behind an answer as the beginning of the next; "" where it writes none.

    Args:
        write: (messages, add_generation_prompt) -> text, None where the template refuses them.
        bos: the token that a text begins with.
    """
    asked, answered, more = (write(_TURNS[:count], False) for count in (1, 2, 3))
    if asked is None or answered is None or more is None or asked != write(_TURNS[:1], True):
        return ""  # it knows what it is asked for
    front, _, header = asked.partition(_ASKED)
    between, _, behind = answered.partition(_ASKED)[2].partition(_SAID)
    next_turn = more.partition(_SAID)[2].partition(_MORE)[0]
    front = front.removeprefix(bos or "")
    if not front or not header.strip() or header != between or not next_turn.endswith(front):
        return ""
    end = next_turn.removesuffix(front)
    found = behind.removeprefix(end) if behind.startswith(end) else ""
    return found if found.strip() and header.endswith(found) else ""
