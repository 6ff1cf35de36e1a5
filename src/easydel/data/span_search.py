"""Looking for the beginning and the end of one rendered text in another."""

import re

# The beginning of a special token.
_PART = re.compile(r"[<\[][^<>\[\]\s]*$")


def common_length(text: str, whole: str, start: int) -> int:
    """Returns how many characters of the beginning of `text` are in `whole` at `start`.

    >>> common_length("abc", "xxabd", 2)
    2
    """
    if whole.startswith(text, start):
        return len(text)
    least, most = 0, len(text)  # if one beginning stands there, so does every shorter one
    while least < most:
        length = (least + most + 1) // 2
        least, most = (length, most) if whole.startswith(text[:length], start) else (least, length - 1)
    return least


def before_special_token(text: str, end: int) -> int:
    """Returns `end`, or where a special token such as `<|im_end|>` begins that it would cut.

    >>> before_special_token("Hi<|im_end|>", 6)
    2
    """
    found = _PART.search(text[max(0, end - 40) : end])
    return end - len(found[0]) if found else end


def end_in(text: str, whole: str, words: str, *, last: bool = False) -> int | None:
    """Returns where in `whole` the longest end of `text` that is in it ends; None where that does not hold `words`.

    The first place, or the last one.

    >>> end_in("<s>Hi<|end|>", "<|sys|>Hi<|end|>Ho", "Hi")
    16
    """
    least, most = 0, len(text)  # if an end is found, so is every shorter one
    while least < most:
        length = (least + most + 1) // 2
        least, most = (length, most) if text[-length:] in whole else (least, length - 1)
    held = text[-least:] if least else ""
    if not words or words not in held:
        return None
    return (whole.rfind(held) if last else whole.find(held)) + least
