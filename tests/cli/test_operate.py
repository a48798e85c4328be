"""Commands that change a daemon, against a control socket that records them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from sockd.cli import main
from sockd.cli.operate import _plan_in_words

Run = Callable[..., Result]


def states(run: Run) -> dict[str, str]:
    return {each["name"]: each["state"] for each in json.loads(run("status", "--json").stdout)["services"]}


def test_pause_resume_and_drain_reach_one_service_or_all(run: Run) -> None:
    assert run("pause", "echo").stdout == "paused echo\n"
    assert states(run) == {"echo": "paused", "chat": "open"}
    assert run("resume").stdout == "resumed every service\n"
    assert states(run) == {"echo": "open", "chat": "open"}
    assert run("drain").stdout == "drained every service\n"
    assert states(run) == {"echo": "draining", "chat": "draining"}


def test_log_stop_and_kick_reach_the_daemon(run: Run) -> None:
    assert run("log", "debug").stdout == "the log has debug and above\n"
    assert run("kick", "echo:1").stdout == "kicked echo:1\n"
    assert run("stop").stdout == "stopping\n"
    snapshot = json.loads(run("status", "--json").stdout)
    assert (snapshot["level"], snapshot["state"]) == ("debug", "stopping")


def test_kick_takes_several_and_one_that_is_not_there_spares_none_of_the_others(run: Run) -> None:
    assert run("kick", "echo:1", "echo:1").stdout == "kicked echo:1, echo:1\n"
    done = run("kick", "echo:9", "echo:1")
    assert (done.stdout, done.exit_code) == ("kicked echo:1\n", 1)
    assert done.stderr == "sockd: no connection echo:9\n"
    told = json.loads(run("kick", "--json", "echo:1", "echo:9").stdout)
    assert told == {"kicked": ["echo:1"], "error": "no connection echo:9"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chat.idle_timeout", "idle_timeout = 5s for chat\n"),
        ("a.b.idle_timeout", "idle_timeout = 5s for a.b\n"),
        ("idle_timeout", "idle_timeout = 5s for every service\n"),
    ],
)
def test_set_takes_the_last_word_as_the_key_and_the_rest_as_the_service(
    run: Run, name: str, said: str
) -> None:
    assert run("set", name, "5s").stdout == said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["pause", "ehco"], "expected a service, found 'ehco'; did you mean 'echo'?"),
        (["set", "idle_timout", "5s"], "expected a limit, found 'idle_timout'; did you mean 'idle_timeout'?"),
        (["kick", "echo:\x1b9"], r"no connection echo:\x1b9"),
        (["upgrade"], "an upgrade needs workers"),
    ],
)
def test_a_refusal_of_the_daemon_is_one_line_and_exit_code_1(run: Run, words: list[str], reason: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"sockd: {reason}\n")
    result = run(*words, "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]) == (1, reason)


def test_reload_prints_the_plan_in_words(run: Run) -> None:
    result = run("reload", "--dry-run")
    assert result.stdout == (
        "would keep 1, change limits of 1, add 2\n  keep echo\n  change limits of chat\n  add a, b\n"
    )
    assert json.loads(run("reload", "--dry-run", "--json").stdout)["add"] == ["a", "b"]


def test_reload_of_a_faulty_file_prints_what_check_prints(run: Run) -> None:
    result = run("reload")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "sockd.toml:3:1: unknown key 'x'\n  3 | x\n    | ^\n"
    assert json.loads(run("reload", "--json").stdout)["error"] == "1 fault in the configuration"


def test_a_plan_tells_each_step_and_what_has_to_wait() -> None:
    plan = {key: ["x\x1b"] for key in ("keep", "limits", "listeners", "restart", "add", "remove")}
    assert _plan_in_words(plan | {"later": ["log"]}, "").splitlines() == [
        "keep 1, change limits of 1, change listeners of 1, restart 1, add 1, remove 1",
        r"  keep x\x1b",
        r"  change limits of x\x1b",
        r"  change listeners of x\x1b",
        r"  restart x\x1b",
        r"  add x\x1b",
        r"  remove x\x1b",
        "  other keys of [log] hold from the next start on",
    ]
    assert _plan_in_words({}, "would ") == "would do nothing"


@pytest.mark.parametrize(
    "command",
    ["status", "ps", "top", "kick", "drain", "pause", "resume", "set", "log", "reload", "upgrade", "stop"],
)
def test_every_command_has_help_with_its_exit_codes(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "1: the daemon refused" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_a_level_that_is_none_is_a_wrong_command() -> None:
    assert CliRunner().invoke(main, ["log", "loud"]).exit_code == 2
