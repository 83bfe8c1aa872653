"""What the runner's container is to be."""

from dataclasses import replace

import pytest

from modelrunner.containers.plan import Facts, Gpu, Options, check, choose_gpu, image, plan, restored
from modelrunner.errors import InvalidRequest

BRIDGED = Facts(gateway="172.17.0.1")


@pytest.mark.parametrize(
    ("options", "facts", "gpu"),
    [
        (Options(), Facts(), Gpu.NONE),
        (Options(), Facts(runtimes=frozenset({"runc", "nvidia", "rocm"})), Gpu.CUDA),
        (Options(), Facts(runtimes=frozenset({"rocm", "cann"})), Gpu.ROCM),
        (Options(), Facts(runtimes=frozenset({"cann", "mthreads"})), Gpu.MUSA),
        (Options(), Facts(runtimes=frozenset({"cann"})), Gpu.CANN),
        (Options(), Facts(nvidia_toolkit=True), Gpu.CUDA),
        (Options(gpu="none"), Facts(nvidia_toolkit=True), Gpu.NONE),
        (Options(gpu="rocm"), Facts(), Gpu.ROCM),
    ],
)
def test_the_gpu_is_the_first_that_docker_has_a_runtime_for(options: Options, facts: Facts, gpu: Gpu) -> None:
    """Unless one was named."""
    assert gpu == choose_gpu(options, facts)


@pytest.mark.parametrize(
    ("options", "gpu", "name"),
    [
        (Options(), Gpu.NONE, "modelrunner:latest"),
        (Options(), Gpu.CUDA, "modelrunner:latest-cuda"),
        (Options(), Gpu.ROCM, "modelrunner:latest-rocm"),
        (Options(), Gpu.MUSA, "modelrunner:latest"),
        (Options(), Gpu.CANN, "modelrunner:latest"),
        (Options(backend="vllm"), Gpu.CUDA, "modelrunner:latest-vllm-cuda"),
        (Options(version="v2", variant="rocm"), Gpu.CUDA, "modelrunner:v2-rocm"),
        (Options(variant="cpu"), Gpu.CUDA, "modelrunner:latest"),
        (Options(variant="generic"), Gpu.CUDA, "modelrunner:latest"),
        (Options(repository="host:5000/team/runner"), Gpu.CUDA, "host:5000/team/runner:latest-cuda"),
    ],
)
def test_the_image_has_the_variant_that_fits(options: Options, gpu: Gpu, name: str) -> None:
    """A variant that was asked for by name goes first."""
    assert name == image(options, gpu)


def test_containers_reach_the_runner_by_the_gateway() -> None:
    """Published on loopback, it is published there too."""
    planned = plan(Options(port=23456), BRIDGED)

    assert planned.arguments["ports"] == {"80/tcp": [("127.0.0.1", 23456), ("172.17.0.1", 23456)]}
    assert (planned.host, planned.port, planned.gateway) == ("127.0.0.1", 23456, "172.17.0.1")
    assert planned.without_gateway.arguments["ports"] == {"80/tcp": [("127.0.0.1", 23456)]}


def test_an_address_that_was_chosen_is_the_only_one() -> None:
    """It may be reached from elsewhere, so nothing is added to it."""
    planned = plan(Options(host="0.0.0.0"), BRIDGED)

    assert planned.arguments["ports"] == {"80/tcp": [("0.0.0.0", 12434)]}
    assert planned.gateway is None


def test_without_a_bridge_the_machine_s_network_is_shared() -> None:
    """Then it is the daemon that listens on loopback only."""
    arguments = plan(Options(), Facts(has_bridge=False)).arguments

    assert arguments["network_mode"] == "host"
    assert "ports" not in arguments
    assert dict(arguments["environment"])["DMR_BIND"] == "127.0.0.1"  # type: ignore[call-overload]  # a dictionary


def test_with_tls_nothing_else_is_open_beyond_this_machine() -> None:
    """The plain port stays on loopback."""
    options = Options(host="0.0.0.0", tls=True, tls_cert="/c.pem", tls_key="/k.pem")

    planned = plan(options, BRIDGED)

    assert planned.arguments["ports"] == {
        "80/tcp": [("127.0.0.1", 12434)],
        "12444/tcp": [("0.0.0.0", 12444)],
    }
    assert planned.files == {
        "/c.pem": "/home/modelrunner/certs/cert.pem",
        "/k.pem": "/home/modelrunner/certs/key.pem",
    }


def test_docker_s_own_tools_find_the_container() -> None:
    """By name and labels."""
    arguments = plan(Options(), BRIDGED).arguments

    assert arguments["name"] == "docker-model-runner"
    labels = dict(arguments["labels"])  # type: ignore[call-overload]  # a dictionary
    assert labels["com.docker.desktop.service"] == "model-runner"
    assert labels["com.docker.model-runner.role"] == "controller"


def test_gpus_are_handed_in() -> None:
    """The runtime where there is one, all GPUs for CUDA, and devices with the group that may use them."""
    facts = Facts(runtimes=frozenset({"nvidia"}), devices=("/dev/dri",), render_group=109)

    planned = plan(Options(), facts)

    assert (planned.all_gpus, planned.arguments["runtime"]) == (True, "nvidia")
    assert planned.arguments["devices"] == ["/dev/dri:/dev/dri:rwm"]
    assert planned.arguments["group_add"] == ["109"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(gpu="apple"), 'unknown GPU specification: "apple"'),
        (Options(backend="mlx"), r'unknown backend: "mlx" \(supported: llama.cpp, vllm, diffusers\)'),
        (Options(host="localhost"), "invalid host: must be a valid IP-address: localhost"),
        (Options(tls=True, tls_cert="/c.pem"), "--tls needs a certificate and its key"),
    ],
)
def test_what_cannot_be_is_refused(options: Options, message: str) -> None:
    """Before anything is pulled or removed."""
    with pytest.raises(InvalidRequest, match=message):
        check(options)


def test_vllm_s_image_needs_cuda() -> None:
    """It is for nothing else."""
    with pytest.raises(InvalidRequest, match="requires CUDA"):
        plan(Options(backend="vllm"), BRIDGED)


def test_a_container_remembers_what_it_was_made_of() -> None:
    """In a label; one that says nothing, or nonsense, is as if nobody had asked for anything."""
    options = replace(Options(), port=1, gpu="cuda", environment={"HTTP_PROXY": "http://proxy"})

    assert restored(options.dump()) == options
    assert restored(None) == restored("{") == restored("[]") == Options()
