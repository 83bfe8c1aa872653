"""The Helm chart, rendered by Helm's own library and checked against the schemas of Kubernetes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelrunner import __version__

ROOT = Path(__file__).parent.parent.parent
KEY = {"enabled": True, "apiKey": "sk-1"}

Documents = dict[tuple[str, str], dict[str, Any]]
Render = Callable[..., Documents]


@pytest.fixture
def render(chart_python: Path) -> Render:
    """Render with some values; every document has passed its schema."""

    def run(**values: object) -> Documents:
        done = _render(chart_python, values)
        assert done.returncode == 0, done.stderr
        return {(one["kind"], one["metadata"]["name"]): one for one in json.loads(done.stdout)}

    return run


def _render(python: Path, values: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, ROOT / "scripts" / "render_chart.py"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def _pod(documents: Documents) -> dict[str, Any]:
    pod: dict[str, Any] = documents["StatefulSet", "demo-modelrunner"]["spec"]["template"]["spec"]
    return pod


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def test_without_values_it_is_one_runner_with_a_volume_that_stays(render: Render) -> None:
    """Not root, no way to write but its volumes, no key of the cluster, probes of its own."""
    documents = render()

    spec = documents["StatefulSet", "demo-modelrunner"]["spec"]
    pod = _pod(documents)
    (runner,) = pod["containers"]
    assert sorted(documents) == [
        ("Service", "demo-modelrunner"),
        ("Service", "demo-modelrunner-pods"),
        ("ServiceAccount", "demo-modelrunner"),
        ("StatefulSet", "demo-modelrunner"),
    ]
    assert (spec["replicas"], runner["image"]) == (1, f"modelrunner:{__version__}")
    assert spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "100Gi"
    assert {mount["mountPath"] for mount in runner["volumeMounts"]} >= {"/models", "/var/lib/modelrunner"}
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 1000)
    assert runner["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert runner["readinessProbe"]["httpGet"]["path"] == "/engines/status"
    assert runner["livenessProbe"]["httpGet"]["path"] == "/health"
    assert "demo-modelrunner.prod.svc.cluster.local" in _environment(runner)["DMR_ALLOWED_HOSTS"].split(",")


@pytest.mark.parametrize(
    ("vendor", "resource", "suffix"), [("nvidia", "nvidia.com/gpu", "cuda"), ("amd", "amd.com/gpu", "rocm")]
)
def test_a_gpu_brings_its_resource_and_its_image(
    render: Render, vendor: str, resource: str, suffix: str
) -> None:
    """Asked for and limited, as extended resources have to be; a tag that is given goes before."""
    gpu = {"enabled": True, "vendor": vendor, "count": 2, "runtimeClassName": "nvidia"}

    (runner,) = _pod(render(gpu=gpu))["containers"]
    (tagged,) = _pod(render(gpu=gpu, image={"repository": "r", "tag": "t"}))["containers"]

    assert runner["resources"]["limits"] == {resource: 2}
    assert runner["resources"]["requests"][resource] == 2
    assert runner["image"] == f"modelrunner:{__version__}-{suffix}"
    assert tagged["image"] == "r:t"


def test_models_are_here_before_a_pod_is_ready(render: Render) -> None:
    """An init container pulls them, with the logins and the settings of the runner, without needing a GPU."""
    documents = render(
        models={"prePull": ["ai/smollm2", "ai/qwen3:4B"], "preload": ["ai/smollm2"]},
        registrySecret="regcred",
        huggingFaceSecret="hf",
        env={"DMR_KEEP_ALIVE": "1h", "DMR_PLACES": 2},
        gpu={"enabled": True},
    )

    (pull,) = _pod(documents)["initContainers"]
    (runner,) = _pod(documents)["containers"]
    environment = _environment(runner)
    assert pull["args"] == ["ai/smollm2", "ai/qwen3:4B"]
    assert "nvidia.com/gpu" not in json.dumps(pull["resources"])
    assert _environment(pull) == environment
    assert environment["DMR_PRELOAD"] == "ai/smollm2"
    assert (environment["DMR_KEEP_ALIVE"], environment["DMR_PLACES"]) == ("1h", "2")
    assert environment["DOCKER_CONFIG"] == "/etc/modelrunner/docker"
    assert any(
        volume.get("secret", {}).get("secretName") == "regcred" for volume in _pod(documents)["volumes"]
    )


def test_with_a_key_nobody_gets_past_the_proxy(render: Render) -> None:
    """The daemon is on loopback, the key in a secret, and what is published is the proxy's port."""
    documents = render(auth=KEY)

    runner, proxy = _pod(documents)["containers"]
    environment = _environment(runner)
    assert (environment["DMR_BIND"], environment["MODEL_RUNNER_PORT"]) == ("127.0.0.1", "12435")
    assert "ports" not in runner
    assert runner["readinessProbe"]["exec"]["command"] == ["dmr", "status"]
    assert proxy["ports"] == [{"name": "http", "containerPort": 12434}]
    assert documents["Secret", "demo-modelrunner-auth"]["stringData"] == {"apiKey": "sk-1"}
    template = documents["ConfigMap", "demo-modelrunner-auth"]["data"]["default.conf.template"]
    assert '"Bearer ${API_KEY}"' in template
    assert "sk-1" not in template


def test_a_secret_of_one_s_own_is_used(render: Render) -> None:
    """And none is made."""
    documents = render(auth={"enabled": True, "existingSecret": "mine"})

    proxy = _pod(documents)["containers"][1]
    assert not any(kind == "Secret" for kind, _ in documents)
    assert proxy["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "apiKey"}


def test_everything_at_once(render: Render) -> None:
    """Scaling, disruption, network, ingress, node port, metrics: each is there, and for the right pods."""
    on = {"enabled": True}
    documents = render(
        auth=KEY,
        autoscaling={"enabled": True, "minReplicas": 2, "maxReplicas": 5},
        podDisruptionBudget=on,
        networkPolicy={"enabled": True, "from": [{"podSelector": {"matchLabels": {"app": "chat"}}}]},
        ingress={"enabled": True, "hosts": [{"host": "models.example.com"}]},
        nodePort=on,
        serviceMonitor=on,
    )

    labels = {"app.kubernetes.io/name": "modelrunner", "app.kubernetes.io/instance": "demo"}
    name = "demo-modelrunner"
    scaler = documents["HorizontalPodAutoscaler", name]["spec"]
    policy = documents["NetworkPolicy", name]["spec"]
    monitor = documents["ServiceMonitor", name]["spec"]
    assert "replicas" not in documents["StatefulSet", name]["spec"]
    assert (scaler["scaleTargetRef"]["kind"], scaler["minReplicas"], scaler["maxReplicas"]) == (
        "StatefulSet",
        2,
        5,
    )
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"][0]["ports"] == [{"port": 12434, "protocol": "TCP"}]
    assert policy["ingress"][0]["from"][0]["podSelector"] == {"matchLabels": {"app": "chat"}}
    assert documents["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"] == labels
    assert documents["Service", f"{name}-nodeport"]["spec"]["ports"][0]["nodePort"] == 31245
    assert documents["Ingress", name]["spec"]["rules"][0]["host"] == "models.example.com"
    chosen = monitor["selector"]["matchLabels"].items()
    pods, api = (documents["Service", each]["metadata"]["labels"] for each in (f"{name}-pods", name))
    assert (chosen <= pods.items(), chosen <= api.items()) == (True, False)


def test_scratch_space_goes_with_its_pod(render: Render) -> None:
    """For who wants no volume to stay."""
    documents = render(storage={"ephemeral": True, "storageClass": "gp2"})

    volumes = {volume["name"]: volume for volume in _pod(documents)["volumes"]}
    assert "volumeClaimTemplates" not in documents["StatefulSet", "demo-modelrunner"]["spec"]
    assert volumes["models"]["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"] == "gp2"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auth": {"enabled": True}}, "auth.enabled needs auth.apiKey or auth.existingSecret"),
        ({"auth": {"enabled": True, "apiKey": 'a"b'}}, "auth"),
        ({"gpu": {"vendor": "intel"}}, "gpu"),
        ({"nodePort": {"port": 80}}, "nodePort"),
        ({"replicaCount": "two"}, "replicaCount"),
    ],
)
def test_values_that_cannot_be_are_refused(chart_python: Path, values: object, message: str) -> None:
    """By name, before anything reaches a cluster."""
    done = _render(chart_python, values)

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
