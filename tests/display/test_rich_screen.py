"""Bars of rich: when they appear, and when they go."""

import pytest

from easydel.display import rich_screen
from easydel.display.pairs import Piece
from easydel.display.rich_screen import RichScreen
from easydel.display.work import Work


@pytest.fixture
def screen() -> RichScreen:
    return RichScreen(on_stdout=True)


def test_drawing_stops_with_the_last_bar(screen):
    with Work("outer", unit="steps", total=2, make_bar=screen.bar, stays=True) as outer:
        drawn = screen._progress
        with Work("inner", unit="rows", total=2, make_bar=screen.bar) as inner:
            inner.advance()
            assert screen._progress is drawn
        assert [task.description for task in drawn.tasks] == ["outer"]  # the inner one is removed
        outer.advance()
    assert screen._progress is None
    assert drawn.finished is False


def test_a_bar_appears_when_its_work_takes_a_while(screen, monkeypatch):
    with Work("load", unit="B", total=2, make_bar=screen.bar) as work:
        [task] = screen._progress.tasks
        assert not task.visible
        monkeypatch.setattr(rich_screen, "SECONDS_UNSEEN", -1.0)
        work.advance()
        assert (task.visible, task.completed, task.fields["amount"]) == (True, 1, "1 B of 2 B")


def test_brackets_in_text_are_not_markup(screen, capsys):
    screen.say("[bold]a[/bold]")
    screen.say("x", [Piece("special", "[red]b")])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["[bold]a[/bold]", "[red]b"]


def test_plain_text_goes_to_stdout_where_the_bars_do_not(capsys):
    RichScreen(on_stdout=False).say("text", [Piece("special", "marked")])
    assert capsys.readouterr() == ("text\n", "")
