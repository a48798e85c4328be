"""Units of systemd, made for one configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sockd.cli.place import Place
from sockd.cli.systemd import systemd, units
from sockd.config import load

ROOT = Path(__file__).parents[2]
ECHO = '[service.echo]\nplugin = "echo"\nlisten = '

Made = Callable[..., str]


def place(**other: object) -> Place:
    values = {
        "command": Path("/opt/sockd/bin/sockd"),
        "python": Path("/usr"),
        "config": Path("/etc/sockd/sockd.toml"),
        "user": "sockd",
        "notify_reload": False,
    }
    return Place(**(values | other))  # type: ignore[arg-type]


@pytest.fixture
def all_units(tmp_path: Path) -> Callable[..., dict[str, str]]:
    def make(text: str, *, socket_activation: bool = False, **where: object) -> dict[str, str]:
        path = tmp_path / "sockd.toml"
        path.write_text(text if "[daemon]" in text else f'[daemon]\nstate_dir = "/var/lib/sockd"\n{text}')
        return dict(units(load(path), place(**where), socket_activation=socket_activation))

    return make


@pytest.fixture
def unit(all_units: Callable[..., dict[str, str]]) -> Made:
    return lambda text, **where: all_units(text, **where)["sockd.service"]


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.M)


def run(tmp_path: Path, text: str, *options: str) -> Result:
    path = tmp_path / "sockd.toml"
    path.write_text(text)
    return CliRunner().invoke(systemd, ["-c", str(path), *options])


def test_a_service_without_low_ports_has_no_capability(unit: Made) -> None:
    made = unit(f'{ECHO}["tcp:7007", "tcp:0"]')
    assert values(made, "CapabilityBoundingSet") == [""]
    assert values(made, "PrivateUsers") == ["yes"]
    assert not values(made, "AmbientCapabilities")


@pytest.mark.parametrize("listen", ['["tcp:7"]', '["udp6:1023"]'])
def test_a_low_port_takes_the_one_capability(unit: Made, listen: str) -> None:
    made = unit(f"{ECHO}{listen}")
    assert values(made, "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert values(made, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert values(made, "PrivateUsers") == ["no"]


def test_a_low_port_that_systemd_opens_takes_none(unit: Made) -> None:
    made = unit(f'{ECHO}["tcp:7"]', socket_activation=True)
    assert values(made, "CapabilityBoundingSet") == [""]
    assert values(made, "Sockets") == ["sockd-echo-tcp-7.socket"]


def test_folders_where_systemd_makes_them_are_its_own_and_others_are_told(unit: Made) -> None:
    made = unit(
        '[daemon]\nstate_dir = "/var/lib/sockd"\n[log]\nfile = "/var/log/sockd/log"\n'
        '[control]\nlisten = "unix:/run/sockd/control/s"\n'
        f'{ECHO}["unix:/run/sockd/echo.sock", "unixgram:/srv/a b/100%"]'
    )
    assert values(made, "StateDirectory") == ["sockd"]
    assert values(made, "LogsDirectory") == ["sockd"]
    assert values(made, "RuntimeDirectory") == ["sockd"]
    assert values(made, "ReadWritePaths") == ['"/srv/a b"']
    assert '#   install -d -o sockd -g sockd "/srv/a b"' in made


def test_paths_that_a_plugin_writes_are_writable_and_those_it_reads_are_not(tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    result = run(
        tmp_path,
        '[service.f]\nplugin = "files"\nlisten = ["tcp:1"]\noptions.directory = "up"\n'
        '[service.b]\nplugin = "banner"\nlisten = ["tcp:2"]\noptions.file = "text"',
    )
    assert values(result.stdout, "ReadWritePaths") == [f"{tmp_path}/state {tmp_path}/up"]


def test_no_path_has_steps_upwards_which_systemd_would_ignore(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deep")
    (tmp_path / "conf").mkdir()
    text = (
        '[daemon]\nstate_dir = "../state"\n[log]\nfile = "../link/../logs/log"\n'
        f'{ECHO}["unix:../run/x/../echo.sock", "unix:./here.sock"]'
    )
    (tmp_path / "conf" / "sockd.toml").write_text(text)
    path = tmp_path / "conf" / ".." / "conf" / "sockd.toml"
    for options in ((), ("--socket-activation",)):
        made = CliRunner().invoke(systemd, ["-c", str(path), *options]).stdout
        settings = [line for line in made.split("\n") if "=" in line and "Description" not in line]
        assert not [line for line in settings if ".." in line or "/./" in line]
        folders = values(made, "ReadWritePaths")[0].split()
        assert {f"{tmp_path}/state", f"{tmp_path}/real/logs"} <= set(folders)


def test_a_home_or_a_temporary_folder_that_is_needed_can_be_seen(unit: Made) -> None:
    at_home = unit(f'{ECHO}["tcp:1"]', config=Path("/home/ann/sockd.toml"))
    assert values(at_home, "ProtectHome") == ["read-only"]
    temporary = unit(f'{ECHO}["unix:/tmp/x/s"]')
    assert values(temporary, "PrivateTmp") == ["no"]
    assert values(unit(f'{ECHO}["tcp:1"]'), "PrivateTmp") == ["yes"]


def test_systemd_kills_only_after_connections_had_their_time(unit: Made) -> None:
    made = unit(f'[daemon]\ndrain_timeout = "2m"\n{ECHO}["tcp:1"]')
    assert values(made, "TimeoutStopSec") == ["130s"]


def test_a_reload_is_a_hangup_which_newer_systemd_sends_itself(unit: Made) -> None:
    old, new = unit(f'{ECHO}["tcp:1"]'), unit(f'{ECHO}["tcp:1"]', notify_reload=True)
    assert (values(old, "Type"), values(old, "ExecReload")) == (["notify"], ["kill -HUP $MAINPID"])
    assert (values(new, "Type"), values(new, "ExecReload")) == (["notify-reload"], [])


def test_words_that_mean_something_to_systemd_are_taken_as_they_are(unit: Made) -> None:
    made = unit(f'{ECHO}["tcp:1"]', config=Path('/etc/a "b"/$HOME/%h\\'))
    [command] = values(made, "ExecStart")
    assert command == r'/opt/sockd/bin/sockd run -c "/etc/a \"b\"/$$HOME/%%h\\"'


def test_a_path_cannot_bring_a_line_of_its_own_into_a_unit(tmp_path: Path) -> None:
    result = run(tmp_path, f'{ECHO}["unix:/srv/a\\nUser/s"]')
    assert result.exit_code == 1
    assert "control characters" in result.stderr


def test_each_listener_becomes_a_socket_with_a_name_of_its_own(
    all_units: Callable[..., dict[str, str]],
) -> None:
    listen = (
        '["tcp:7:interface=127.0.0.1", "tcp:7:interface=[::1]", "udp6:7", "unix:/run/e/a b.sock:mode=660"]'
    )
    made = all_units(f"{ECHO}{listen}", socket_activation=True)
    assert list(made) == [
        "sockd.service",
        "sockd-echo-tcp-7.socket",
        "sockd-echo-tcp-7-2.socket",
        "sockd-echo-udp6-7.socket",
        "sockd-echo-unix-a-b.socket",
    ]
    assert values(made["sockd-echo-tcp-7.socket"], "ListenStream") == ["127.0.0.1:7"]
    assert values(made["sockd-echo-tcp-7-2.socket"], "ListenStream") == ["[::1]:7"]
    assert values(made["sockd-echo-tcp-7-2.socket"], "FileDescriptorName") == ["echo-tcp-7-2"]
    assert values(made["sockd-echo-udp6-7.socket"], "ListenDatagram") == ["[::]:7"]
    assert values(made["sockd-echo-udp6-7.socket"], "BindIPv6Only") == ["ipv6-only"]
    assert "#   systemd:echo-udp6-7:type=datagram\n" in made["sockd-echo-udp6-7.socket"]
    assert values(made["sockd-echo-unix-a-b.socket"], "ListenStream") == ["/run/e/a b.sock"]
    assert values(made["sockd-echo-unix-a-b.socket"], "SocketMode") == ["0660"]


def test_socket_options_move_into_the_socket_unit(all_units: Callable[..., dict[str, str]]) -> None:
    options = 'no_delay = false, keepalive = false, backlog = 9, receive_buffer = "1KiB", defer_accept = "3s"'
    made = all_units(f'{ECHO}[{{ endpoint = "tcp:7", socket = {{ {options} }} }}]', socket_activation=True)[
        "sockd-echo-tcp-7.socket"
    ]
    keys = ("NoDelay", "KeepAlive", "Backlog", "ReceiveBuffer", "DeferAcceptSec")
    assert [values(made, key) for key in keys] == [["no"], ["no"], ["9"], ["1024"], ["3"]]


def test_a_configuration_with_inherited_sockets_gets_the_same_service(
    all_units: Callable[..., dict[str, str]],
) -> None:
    before = all_units(f'{ECHO}["tcp:7"]', socket_activation=True)
    after = all_units(f'{ECHO}["systemd:echo-tcp-7"]')
    assert after == {"sockd.service": before["sockd.service"]}


def test_a_free_port_cannot_be_a_socket_unit(tmp_path: Path) -> None:
    result = run(tmp_path, f'{ECHO}["tcp:0"]', "--socket-activation")
    assert result.exit_code == 1
    assert "tcp:0: a socket unit needs a port" in result.stderr


def test_units_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    result = run(tmp_path, f'{ECHO}["tcp:7"]', "--socket-activation", "--output", str(folder))
    written = [str(folder / "sockd.service"), str(folder / "sockd-echo-tcp-7.socket")]
    assert result.stdout.split() == written
    assert f"run -c {tmp_path}/sockd.toml" in (folder / "sockd.service").read_text()


def test_a_faulty_configuration_is_told_as_check_tells_it(tmp_path: Path) -> None:
    result = run(tmp_path, f'{ECHO}["tcp:x"]')
    assert result.exit_code == 1
    assert "expected a port from 0 to 65535" in result.stderr


@pytest.mark.parametrize("user", ["a b", "a\nExecStart=x", "", "1"])
def test_a_user_that_is_none_is_a_mistake_of_the_command(tmp_path: Path, user: str) -> None:
    assert run(tmp_path, f'{ECHO}["tcp:7"]', "--user", user).exit_code == 2


def test_the_samples_are_what_the_command_makes() -> None:
    config = load(ROOT / "deploy" / "sockd.toml")
    plain, activated = units(config, place()), units(config, place(), socket_activation=True)
    assert (ROOT / "deploy" / "sockd.service").read_text() == plain["sockd.service"]
    assert (ROOT / "deploy" / "sockd.socket").read_text() == activated["sockd-echo-tcp-7007.socket"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("listen", ['["tcp:7007"]', '["tcp:7", "unix:/run/sockd/s"]'])
def test_systemd_finds_the_units_valid_and_well_confined(
    all_units: Callable[..., dict[str, str]], tmp_path: Path, listen: str
) -> None:
    command = Path("/bin/true")  # verify needs the program to exist
    for activation in (False, True):
        made = all_units(f"{ECHO}{listen}", socket_activation=activation, command=command)
        files = [tmp_path / name for name in made]
        for file in files:
            file.write_text(made[file.name])
        verified = analyze("verify", *map(str, files))
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
        told = analyze("security", "--offline=true", "--no-pager", str(tmp_path / "sockd.service")).stdout
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", told)
        assert exposure is not None
        assert float(exposure[1]) <= 2.0


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
