"""Every block of every page is run, checked, or has a reason why not; each guide ends where it says."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
from support.docs.blocks import ROOT, blocks, pages
from support.docs.follow import follow
from support.docs.plan import read_plan

from authz.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

GUIDES = read_plan()
HERE = [name for name, guide in GUIDES.items() if guide.runs() and not guide.cluster]


def test_every_block_of_every_page_is_in_the_plan() -> None:
    planned = {step.page for guide in GUIDES.values() for step in guide.steps}
    assert {page for page in pages() if blocks(page)} == planned


def test_every_test_that_the_plan_names_reads_the_page() -> None:
    for step in (step for guide in GUIDES.values() for step in guide.steps if step.do == "tested"):
        file, _, name = step.value.partition("::")
        text = (ROOT / file).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), step.value
        assert step.page.rpartition("/")[2] in text, f"{file} does not read {step.page}"


@pytest.mark.parametrize("name", HERE)
def test_a_guide_that_is_followed_as_it_stands_ends_where_it_says(name: str, tmp_path: Path) -> None:
    follow(GUIDES[name].steps, tmp_path)


def in_text() -> list[tuple[str, str]]:
    """Return the commands that stand in sentences and tables, each with its page."""
    mentions = []
    for page in pages():
        text = (ROOT / page).read_text()
        for block in blocks(page):
            text = text.replace(block.text, "")
        mentions += [(page, " ".join(command.split())) for command in re.findall(r"`(authz [^`…]*)`", text)]
    return sorted(set(mentions))


def mistake(words: list[str]) -> str:
    """Return what of a command is not there: a word, an option or a value; empty: all of it is."""
    command: Any = typer.main.get_command(app)
    rest = iter(words)
    for word in rest:
        options = {
            option: parameter for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        children = getattr(command, "commands", {})
        if word.startswith("-"):
            if word not in options:
                return f"no option {word}"
            if not options[word].is_flag:
                next(rest, None)  # its value
        elif set(word.split("|")) <= children.keys():
            command = children[word.split("|")[0]]
        elif children and not any(
            len(parameter.opts) == 1 and not parameter.opts[0].startswith("-") for parameter in command.params
        ):
            return f"no command {word}"
    return ""


def test_every_command_in_a_sentence_is_one_and_has_its_options() -> None:
    commands = in_text()
    assert len(commands) > 50
    wrong = {(page, text): mistake(shlex.split(text)[1:]) for page, text in commands}
    assert {key: why for key, why in wrong.items() if why} == {}


@pytest.mark.parametrize(
    "text", ["authz snapshots build", "authz snapshot biuld", "authz ban --until x", "authz bans initt"]
)
def test_a_command_in_a_sentence_that_is_not_there_would_be_seen(text: str) -> None:
    assert mistake(text.split()[1:])
