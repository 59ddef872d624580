"""What `diff` finds, and how it shows that."""

from __future__ import annotations

import doctest
import random
import re
from html.parser import HTMLParser
from typing import Any

import hypothesis
import promptlathe
import pytest
from hostile import HostileDict, HostileList, HostileStr
from hypothesis import strategies as st
from promptlathe import Diff, InvalidRequestError, diff


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def body(changes: Diff) -> str:
    """Return what is shown, without the summary."""
    return str(changes).rpartition("\n\n")[0]


# ---- What is found -------------------------------------------------------------------------------


def test_words_variables_and_sizes() -> None:
    changes = diff("Say hello to {{NAME}}, please.", "Say {{ GREETING }} to Ada.")
    assert changes.changed
    assert (changes.removed, changes.added) == (
        ["hello", "{{NAME}}", "please"],
        ["{{ GREETING }}", "Ada"],
    )
    assert (changes.lost, changes.won) == (["NAME"], ["GREETING"])
    assert changes.sizes == {
        "before": {"characters": 30, "words": 5},
        "after": {"characters": 26, "words": 4},
    }
    assert changes.before == "Say hello to {{NAME}}, please."


def test_variables_are_listed_once_and_in_order() -> None:
    changes = diff("{{B}} {{A}} {{B}} {{C}}", "{{ C }} {{E}} {{D}} {{E}}")
    assert (changes.lost, changes.won) == (["B", "A"], ["E", "D"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("a b", "a b"),
        ("a", [user("a")]),
        ("a", [user([text("a")])]),
        ([user("a")], {"messages": [user("a")], "system": "", "usage": 5}),
        ({"messages": [user("a")], "system": None}, ({"role": "user", "content": "a"},)),
    ],
)
def test_equal_prompts(before: Any, after: Any) -> None:
    changes = diff(before, after)
    assert not changes.changed
    assert (changes.added, changes.removed, changes.lost, changes.won) == ([], [], [], [])
    assert str(changes).startswith("no difference: ")
    assert changes.ansi() == str(changes)
    assert changes._repr_html_() == f"<div><p>{changes}</p></div>"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a b", "a  b"),
        ("a", "a\n"),
        ("a.", "a!"),
        ("a", "A"),
        ([user("a")], [{"role": "assistant", "content": "a"}]),
        ([user("a"), user("b")], [user("a\n\nb")]),
        ([user([text("a"), text("b")])], [user("a"), user("b")]),
        ([user("a")], [user("a"), user("")]),
        ({"messages": [user("a")], "system": "b"}, {"messages": [user("a")]}),
        ([user([{"type": "x", "y": 1}])], [user([{"type": "x", "y": 2}])]),
    ],
)
def test_small_differences_are_seen(before: Any, after: Any) -> None:
    changes = diff(before, after)
    assert changes.changed
    for shown in (str(changes), changes._repr_html_()):
        assert re.search(r"\[-|\{\+|<del|<ins", shown), shown
    assert "\x1b[" in changes.ansi()


def test_words_of_other_scripts() -> None:
    changes = diff("我喜欢狗。他也是", "我喜欢猫。他也是")
    assert (changes.removed, changes.added) == (["狗"], ["猫"])
    assert diff("हिन्दी में लिखो", "हिन्दी में बोलो").added == ["बोलो"]
    assert diff("Don’t use it", "Don’t use co-op words").added == ["co-op", "words"]


def test_a_change_in_the_middle_is_found_among_repeated_lines() -> None:
    lines = ["a line that is repeated\n", "\n"] * 200
    before, after = lines.copy(), lines.copy()
    before[100] = "one line\n"
    after[300] = "another line\n"
    changes = diff("".join(before), "".join(after))
    assert (changes.removed, changes.added) == (["one", "line"], ["another", "line"])


# ---- How it is shown -----------------------------------------------------------------------------


def test_as_text() -> None:
    assert str(diff("Translate hello to German", "Translate {{A}} to Dutch or {{B}}")) == (
        "Translate [-hello-]{+{{A}}+} to [-German-]{+Dutch or {{B}}+}\n\n"
        "2 words removed, 4 added; 25 characters became 33\n"
        "variables won: A, B"
    )
    assert str(diff("a\n", "b\n")).startswith("[-a-]{+b+}\n\n1 word removed, 1 added; 2 characters")
    assert repr(diff("{{A}}", "")) == "<Diff: 1 word removed, 0 added; 5 characters became 0>"


def test_roles_and_borders_show() -> None:
    before = {"messages": [user([text("a"), text("b")])], "system": "Be brief"}
    after = [user("a"), {"role": "assistant", "content": "Well"}]
    assert body(diff(before, after)) == (
        "[-── system ──-]\n[-Be brief-]\n\n── user ──\na\n\n[-── user, block 2 ──-]\n[-b-]"
        "\n\n{+── assistant ──+}\n{+Well+}"
    )


def test_long_stretches_without_a_change_are_shortened() -> None:
    lines = [f"line {number}" for number in range(1000)]
    shown = body(diff("\n".join([*lines, "old"]), "\n".join([*lines, "new"])))
    assert shown == (
        "line 0\nline 1\nline 2\n[... 995 lines without a change ...]\nline 998\nline 999\n"
        "[-old-]{+new+}"
    )


def test_in_colour() -> None:
    changes = diff("a one\x1b[2J\x07\n\nc", "a two\r\nthree\n\n\n\nc")
    assert changes.ansi().startswith(
        "a \x1b[31mone\\x1b[2J\\x07\x1b[0m\x1b[32mtwo\r\x1b[0m\n\x1b[32mthree\x1b[0m\n\n"
    )
    assert "a\n\n\x1b[42m↵\x1b[0m\nb" in diff("a\n\nb", "a\n\n\nb").ansi()


class Seen(HTMLParser):
    """The tags of a document, and the text in them."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_html_holds_no_markup_of_the_texts() -> None:
    evil = "<script>alert(1)</script> <img src=x onerror='a()'> &amp; \" </pre></del>"
    changes = diff(
        {"messages": [{"role": f"user{evil}", "content": [{"type": evil, "x": evil}]}]},
        {"messages": [user(f"{evil} more")], "system": evil},
    )
    seen = Seen(changes._repr_html_())
    assert set(seen.tags) == {"div", "pre", "del", "ins", "p"}
    assert f"── user{evil} ──" in seen.words
    assert "<script>alert(1)</script>" in Seen(diff("", evil)._repr_html_()).words


def test_ours_stands_for_itself_in_a_notebook() -> None:
    shown = diff("{{A}} b", "{{B}} b")._repr_html_()
    assert re.search(r"<del [^>]*>\{\{A\}\}</del><ins [^>]*>\{\{B\}\}</ins> b</pre>", shown)
    assert "variables lost: A<br>variables won: B" in shown


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 5, b"a", {"a"}, diff])
def test_what_is_no_prompt(wrong: Any) -> None:
    wanted = "must be a str, a list of messages or a response dict, not "
    with pytest.raises(TypeError, match=f"^before {wanted}"):
        diff(wrong, "a")
    with pytest.raises(TypeError, match=f"^after {wanted}"):
        diff("a", wrong)


def test_faults_say_in_which_prompt() -> None:
    with pytest.raises(InvalidRequestError, match=r"^after: messages\.0\.content: ") as caught:
        diff("a", [user(5)])
    assert [fault["path"] for fault in caught.value.errors] == ["after.messages.0.content"]
    with pytest.raises(InvalidRequestError, match=r"^before: "):
        diff("\ud800", "a")


def test_subclasses_are_read_as_what_they_hold() -> None:
    hostile = HostileDict(messages=HostileList([user(HostileStr("a b"))]), system="")
    assert diff(hostile, "a c").added == ["c"]


# ---- Of any texts --------------------------------------------------------------------------------

texts = st.text(st.sampled_from("ab .\n{}A_-’é漢\x00<"), max_size=30)
prompts = st.one_of(
    texts,
    st.lists(
        st.builds(lambda role, content: {"role": role, "content": content},
                  st.sampled_from(["user", "assistant"]),
                  texts | st.lists(texts.map(text), max_size=3)),
        max_size=3,
    ),
)  # fmt: skip


def joined(changes: Diff, signs: str) -> str:
    kept = [piece for piece in changes._pieces if piece.sign in signs and not piece.heading]
    return "".join(piece.text for piece in kept)


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True, database=None)
@hypothesis.given(prompts, prompts)
def test_both_texts_are_in_the_pieces(before: Any, after: Any) -> None:
    changes = diff(before, after)
    assert changes.changed is bool(changes._pieces)
    back = diff(after, before)
    assert (back.changed, back.lost, back.won) == (changes.changed, changes.won, changes.lost)
    if changes.changed:
        assert any(piece.sign != "=" for piece in changes._pieces)
        sizes = (len(joined(changes, "=-")), len(joined(changes, "=+")))
        assert sizes == tuple(changes.sizes[side]["characters"] for side in ("before", "after"))
    Seen(changes._repr_html_())


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True, database=None)
@hypothesis.given(texts, texts)
def test_nothing_of_a_text_is_lost(before: str, after: str) -> None:
    changes = diff(before, after)
    if before != after:
        assert (joined(changes, "=-"), joined(changes, "=+")) == (before, after)
    else:
        assert not changes.changed


def test_long_texts_end_soon() -> None:
    """200 KB that differ in a few words, in all, or are repetitive; no bound but the test's end."""
    chosen = random.Random(5)
    words = [f"w{round(chosen.paretovariate(0.5)) % 5000}" for _ in range(40_000)]
    edited = words.copy()
    for at in range(0, len(words), 400):
        edited[at] = "edited"
    few = diff(" ".join(words), " ".join(edited))
    assert len(few.added) == len(few.removed) == 100
    other = [f"w{round(chosen.paretovariate(0.5)) % 5000}" for _ in range(40_000)]
    assert diff(" ".join(words), " ".join(other)).changed
    names = diff("".join(f"{{{{a{n}}}}}" for n in range(20_000)), "{{b}}" * 30_000)
    assert (len(names.lost), names.won) == (20_000, ["b"])
    assert diff("a " * 100_000, "b a " * 50_000).changed
    assert diff("\n" * 200_000, "x" + "\n" * 190_000 + "y\n").added == ["x", "y"]


def test_the_examples_of_its_documentation() -> None:
    from promptlathe import _diff

    assert doctest.testmod(_diff) == (0, 4)
    assert promptlathe.diff is diff
