"""``processor entity``: operations and states from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Invoke

MODULE = """
from processor import ApplicationError, entity

@entity.define
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> int:
        if amount < 0:
            raise ApplicationError("no debts")
        self.balance += amount
        return self.balance

    @entity.read
    def total(self) -> int:
        return self.balance
"""


def test_an_entity_is_called_signalled_read_and_listed(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "accounts.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "accounts")
    assert invoke("entity", "state", "Account", "ada", *where).stdout == "null\n"
    assert invoke("entity", "call", "Account", "ada", "deposit", "5", *where).stdout == "5\n"
    again = ("entity", "call", "Account", "ada", "deposit", "5", "--key", "k", "--json", *where)
    for _ in range(2):
        told = json.loads(invoke(*again).stdout)
        assert (told["entity"], told["key"], told["operation"]) == ("Account", "ada", "deposit")
        assert told["result"] == 10
    asked = invoke("entity", "signal", "Account", "bob", "deposit", "1", *where)
    assert asked.stdout == "Account bob was asked for deposit\n"
    assert invoke("entity", "call", "Account", "bob", "total", *where).stdout == "1\n"
    later = ("--delay", "1000", "--json")
    asked = invoke("entity", "signal", "Account", "bob", "deposit", "1", *later, *where)
    assert json.loads(asked.stdout)["operation"] == "deposit"
    assert "signal deposit, due " in invoke("describe", "@Account@bob", *where).stdout
    assert invoke("entity", "call", "Account", "bob", "total", *where).stdout == "1\n"
    told = invoke("entity", "cancel", "Account", "bob", *where)
    assert told.stdout == "none runs in Account bob\n"
    state = json.loads(invoke("entity", "state", "Account", "ada", "--json", *where).stdout)
    assert state["state"] == {"balance": 10}
    lines = invoke("entity", "list", "--json", *where).stdout.splitlines()
    assert [json.loads(line)["workflow_id"] for line in lines] == ["@Account@ada", "@Account@bob"]
    table = invoke("entity", "list", "Account", "--limit", "1", *where).stdout
    assert "ada" in table and "bob" not in table and "there are more than these 1" in table
    assert invoke("entity", "list", "Other", *where).stdout == "none\n"
    failed = invoke("entity", "call", "Account", "ada", "deposit", "--", "-1", *where)
    assert failed.exit_code != 0
    wrong = invoke("entity", "call", "Account", "ada", "nothing", *where)
    assert "there is no operation 'nothing'" in " ".join(wrong.stderr.split())


def test_the_operations_that_ended_last_are_shown(invoke: Invoke, tmp_path: Path) -> None:
    module = MODULE.replace("@entity.define", "@entity.define(history=2)")
    (tmp_path / "audited.py").write_text(module)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "audited")
    history = ("entity", "history", "Account", "ada")
    assert invoke(*history, *where).stdout == "none\n"
    for amount in ("1", "2", "-3"):
        call = ("--key", f"k{amount}", *where, "--", amount)
        invoke("entity", "call", "Account", "ada", "deposit", *call)
    shown = invoke(*history, *where).stdout
    assert "[2]" in shown and "k2" in shown and "no debts" in shown and "[1]" not in shown
    lines = [json.loads(line) for line in invoke(*history, "--json", *where).stdout.splitlines()]
    assert [(each["arguments"], each["result"], each["id"]) for each in lines] == [
        ([2], 3, "k2"),
        ([-3], None, "k-3"),
    ]
    assert lines[1]["failure"] == "ApplicationError: no debts"
    (tmp_path / "accounts.py").write_text(MODULE)
    silent = ("--server", f"embedded:{tmp_path / 'silent'}", "--module", "accounts")
    refused = invoke(*history, *silent)
    assert refused.exit_code != 0
    assert "@entity.define(history=10)" in " ".join(refused.stderr.split())


HOLDS = (
    MODULE
    + """
from processor import workflow

@workflow.define
async def holds() -> str:
    async with workflow.lock(entity.at(Account, "ada")):
        await workflow.wait_for_event("go")
    return "done"
"""
)


def test_an_entity_is_unlocked(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "holders.py").write_text(HOLDS)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "holders")
    assert invoke("entity", "list", "--locked", *where).stdout == "none\n"
    for id in ("holder", "waits"):
        assert invoke("start", "holds", "--id", id, *where).exit_code == 0
    ada = json.loads(invoke("describe", "@Account@ada", "--json", *where).stdout)["pending"]
    holder, number = ada["lock"]["workflow_id"], ada["lock"]["number"]
    shown = invoke("describe", "@Account@ada", *where).stdout
    assert f"locked by:        {holder}, run" in shown and f"under number {number}" in shown
    assert "waits for lock:   waits, run" in shown
    shown = invoke("describe", holder, *where).stdout
    assert f"of @Account@ada: held under number {number}" in shown
    assert "of @Account@ada: it waits" in invoke("describe", "waits", *where).stdout
    (line,) = invoke("entity", "list", "--locked", "--json", *where).stdout.splitlines()
    assert json.loads(line)["pending"]["lock"]["number"] == number
    table = invoke("entity", "list", "--locked", *where).stdout
    assert holder in table and str(number) in table
    other = invoke("entity", "unlock", "@Account@ada", "--number", str(number + 1), *where)
    assert other.stdout == (
        f"nobody holds @Account@ada under number {number + 1}: nothing was changed\n"
    )
    told = json.loads(invoke("entity", "unlock", "@Account@ada", "--json", *where).stdout)
    assert told == {"id": "@Account@ada", "freed": True}
    ada = json.loads(invoke("describe", "@Account@ada", "--json", *where).stdout)["pending"]
    assert (ada["lock"]["workflow_id"], ada["lock_waiting"]) == ("waits", 0)
    freed = invoke("entity", "unlock", "@Account@ada", "--reason", "a test", *where)
    assert freed.stdout == "@Account@ada is free\n"
    wrong = invoke("entity", "unlock", "ada", *where)
    assert wrong.exit_code == 2 and "write @ENTITY@KEY" in " ".join(wrong.stderr.split())
