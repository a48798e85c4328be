"""The samples for machines and clusters."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from running import BIN, PATIENCE, Daemon
from sockd import discovery
from sockd.config import Config, load

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = (DEPLOY / "kubernetes.yaml").read_text()
PRE_STOP = 5
PLUGINS = 6
"""Seconds that the daemon takes beside drain_timeout."""


@pytest.fixture
def in_cluster(tmp_path: Path) -> Config:
    """The configuration in the ConfigMap."""
    found = re.search(r"^  sockd\.toml: \|\n((?:    .*\n|\n)+)", KUBERNETES, re.M)
    assert found is not None
    path = tmp_path / "sockd.toml"
    path.write_text(textwrap.dedent(found[1]))
    return load(path, discovery.find)


def test_the_sample_configuration_has_no_fault() -> None:
    assert load(DEPLOY / "sockd.toml", discovery.find).services


def test_the_cluster_waits_until_connections_had_their_time(in_cluster: Config) -> None:
    [grace] = re.findall(r"terminationGracePeriodSeconds: (\d+)", KUBERNETES)
    assert f"time.sleep({PRE_STOP})" in KUBERNETES
    assert int(grace) > PRE_STOP + in_cluster.daemon.drain_timeout + PLUGINS


def test_every_port_of_the_cluster_is_one_of_the_configuration(in_cluster: Config) -> None:
    ports = {
        (port, "TCP" if endpoint.stream else "UDP")
        for endpoint in (in_cluster.metrics.listen, *(one.endpoint for one in listeners(in_cluster)))
        if (port := getattr(endpoint, "port", 0))
    }
    found = re.findall(r"containerPort: (\d+), protocol: (\w+)", KUBERNETES)
    assert {(int(port), protocol) for port, protocol in found} == ports


def listeners(config: Config) -> list[Any]:
    return [listener for service in config.services.values() for listener in service.listen]


def test_the_manifest_is_yaml_for_a_confined_pod() -> None:
    _, deployment, service = yaml.safe_load_all(KUBERNETES)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} < ports.keys()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def probes() -> dict[str, str]:
    """The paths that the cluster asks, by probe; all of them at the port for metrics."""
    _, deployment, _ = yaml.safe_load_all(KUBERNETES)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")}
    assert {each["port"] for each in asked.values()} == {"metrics"}
    return {name: each["path"] for name, each in asked.items()}


def in_container(instruction: str) -> list[str]:
    """The words of an instruction of the Containerfile."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", "")
    [found] = re.findall(rf"{instruction} (\[.*\])$", text, re.M)
    words: list[str] = json.loads(found)
    return words


def test_what_the_container_starts_serves_and_is_found_healthy_by_every_probe(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {
        "/var/lib/sockd": f"{tmp_path}/state",
        "/run/sockd": f"{tmp_path}/run",
        "tcp:9100": f"tcp:{port}",
    }
    text = re.sub(r"(tcp|udp):70(07|13)", r"\1:0", (DEPLOY / "sockd.toml").read_text())
    for place, here in places.items():
        text = text.replace(place, here)
    (tmp_path / "sockd.toml").write_text(text)
    command = [*in_container("ENTRYPOINT"), *in_container("\nCMD")]
    assert command == ["sockd", "run", "-c", "/etc/sockd/sockd.toml"]
    daemon = Daemon(BIN / command[0], *command[1:-1], tmp_path / "sockd.toml", cwd=tmp_path)
    python, option, code = in_container("HEALTHCHECK .* CMD")
    check = [sys.executable, option, code.replace("9100", str(port))]
    try:
        daemon.ready()
        for path in probes().values():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                assert answer.status == 200
        assert (python, subprocess.run(check, check=False).returncode) == ("python", 0)
    finally:
        assert daemon.stop() == 0
    assert subprocess.run(check, capture_output=True, check=False).returncode != 0


def test_the_container_is_not_root_and_takes_its_images_from_no_named_host() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.findall(r"^USER (\d+)$", text, re.M) == re.findall(r"runAsUser: (\d+)", KUBERNETES)
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) == {"python:3.12-slim"}
