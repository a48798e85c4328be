"""The samples for machines and clusters."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

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
    yaml = pytest.importorskip("yaml", reason="no parser of YAML is installed")
    _, deployment, service = yaml.safe_load_all(KUBERNETES)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {port["targetPort"] for port in service["spec"]["ports"]} < {
        port["name"] for port in container["ports"]
    }


def test_the_container_is_not_root_and_takes_its_images_from_no_named_host() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.findall(r"^USER (\d+)$", text, re.M) == re.findall(r"runAsUser: (\d+)", KUBERNETES)
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) == {"python:3.12-slim"}
