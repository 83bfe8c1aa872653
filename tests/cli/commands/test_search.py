"""`search`, against local servers that speak the APIs of Docker Hub, its registry and Hugging Face."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from modelrunner.cli.commands.search import short_count
from modelrunner.models.description import kinds
from modelrunner.testing.artifacts import Artifacts
from modelrunner.testing.hub import FakeHub, HubRequest, Receive, Send
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tests.cli.conftest import Daemon, Run


def _hub_row(name: str, pulls: int, **fields: object) -> dict[str, object]:
    return {
        "name": name,
        "namespace": "ai",
        "description": f"{name} from Docker",
        "is_private": False,
        "star_count": 7,
        "pull_count": pulls,
        "last_updated": "2026-01-02T03:04:05Z",
        **fields,
    }


def _model(name: str, downloads: int, *tags: str) -> dict[str, object]:
    return {
        "id": name,
        "modelId": name,
        "likes": 1200,
        "downloads": downloads,
        "tags": list(tags),
        "pipeline_tag": "text-generation",
        "createdAt": "2025-01-01T00:00:00.000Z",
        "private": False,
    }


class Websites:
    """Docker Hub's web API and registry, and Hugging Face, at one address."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: list[list[dict[str, object]]] = [[]]
        self.models: list[dict[str, object]] = []
        self.status = {"/v2/repositories/ai/": 200, "/api/models": 200}
        self.elsewhere = ""
        self.seen: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.registry = FakeRegistry()
        self.hub = FakeHub()

    async def __call__(self, scope: "MutableMapping[str, object]", receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if path not in self.status:
            target = self.registry if path.startswith("/v2/") else self.hub
            await target(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}  # type: ignore[attr-defined]  # ASGI
        query = parse_qs(scope["query_string"].decode())  # type: ignore[attr-defined]  # ASGI
        self.seen.append((path, query, headers))
        body = json.dumps(self._document(path, query)).encode()
        await send(
            {
                "type": "http.response.start",
                "status": self.status[path],
                "headers": [(b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def _document(self, path: str, query: dict[str, list[str]]) -> object:
        if path == "/api/models":
            return self.models
        number = int(query.get("page", ["1"])[0])
        more = number < len(self.pages)
        following = f"{self.elsewhere or self.url}{path}?page={number + 1}" if more else None
        return {"count": 1, "next": following, "results": self.pages[number - 1]}


@pytest.fixture
def websites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Websites]:
    made = Websites()
    with serving_in_thread(made) as url:
        made.url = url
        monkeypatch.setenv("DMR_HUB_ENDPOINT", url)
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("MODEL_RUNNER_REGISTRY_MIRRORS", url)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        yield made


def _publish(websites: Websites, folder: Path, name: str, *layers: tuple[str, str | None, bytes]) -> None:
    artifacts = Artifacts(folder)
    manifest, _ = artifacts.make(layers)
    blobs = {blob.digest: artifacts.path(blob.digest).read_bytes() for blob in manifest.blobs}
    websites.registry.add(name, "latest", manifest, blobs)


@pytest.fixture
def filled(websites: Websites, tmp_path: Path) -> Websites:
    """Two models of Docker Hub, and three of Hugging Face."""
    websites.pages = [
        [_hub_row("gemma3", 45600, description="G" * 80), _hub_row("secret", 9, is_private=True)],
        [_hub_row("smollm2", 1_200_000), _hub_row("lost", 3)],
    ]
    _publish(websites, tmp_path, "ai/gemma3", (kinds.GGUF_LAYER, None, b"g" * 1000))
    _publish(
        websites,
        tmp_path,
        "ai/smollm2",
        (kinds.SAFETENSORS_LAYER, "m.safetensors", b"s" * 500),
        (kinds.DDUF_LAYER, "m.dduf", b"d"),
    )
    _publish(websites, tmp_path, "ai/lost", ("application/x-odd", None, b"l"))
    websites.models = [
        _model("Org/Mixed", 50, "qwen2", "gguf", "chat-tuned", "instruct-x"),
        _model("Org/Plain", 5_000_000),
        _model("Org/Private", 1) | {"private": True},
    ]
    websites.hub.add(
        "Org/Mixed", {"m.Q4_K_M.gguf": b"x" * 2000, "m.Q8_0.gguf": b"y" * 90, "m.safetensors": b"z"}
    )
    return websites


def test_both_sources_are_one_table(filled: Websites, daemon: "Daemon", dmr: "Run") -> None:
    """Docker Hub's come first, then what is downloaded most; no daemon is asked."""
    outcome = dmr("search")

    lines = [line.split("  ") for line in outcome.out.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert (outcome.code, outcome.err, daemon.seen) == (0, "", [])
    assert rows[0] == ["NAME", "DESCRIPTION", "BACKEND", "SIZE", "DOWNLOADS", "STARS", "SOURCE"]
    assert [row[0] for row in rows[1:]] == [
        "ai/smollm2",
        "ai/gemma3",
        "ai/lost",
        "hf.co/Org/Plain",
        "hf.co/Org/Mixed",
    ]
    assert rows[1][1:] == ["smollm2 from Docker", "vllm, diffusers", "503.00B", "1.2M", "7", "Docker Hub"]
    assert rows[2][1:] == [f"{'G' * 47}...", "llama.cpp", "1.00kB", "45.6K", "7", "Docker Hub"]
    assert rows[3][1:] == ["lost from Docker", "unknown", "3.00B", "3", "7", "Docker Hub"]
    assert rows[4][1:4] == ["text-generation", "unknown", "n/a"]
    assert rows[5][1:] == [
        "text-generation, qwen2, chat-tuned",
        "llama.cpp, vllm",
        "2.00kB",
        "50",
        "1.2K",
        "HuggingFace",
    ]


def test_json_has_the_reference_s_fields(filled: Websites, dmr: "Run") -> None:
    """Hugging Face's names stand without a prefix there."""
    rows = json.loads(dmr("search", "--json", "--source", "hf", "-n", "1", "mix").out)

    assert rows == [
        {
            "Name": "Org/Mixed",
            "Description": "text-generation, qwen2, chat-tuned",
            "Downloads": 50,
            "Stars": 1200,
            "Source": "HuggingFace",
            "Official": False,
            "UpdatedAt": "2025-01-01T00:00:00.000Z",
            "Backend": "llama.cpp, vllm",
            "Size": "2.00kB",
        }
    ]


def test_the_questions_are_those_that_the_websites_know(
    filled: Websites, dmr: "Run", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hugging Face compares the term itself; its token goes to it alone."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    dmr("search", "--limit", "200", "gemma")

    asked = {path: (query, headers) for path, query, headers in reversed(filled.seen)}
    hub, hub_headers = asked["/v2/repositories/ai/"]
    models, headers = asked["/api/models"]
    assert hub == {"ordering": ["pull_count"], "page_size": ["100"]}
    assert "authorization" not in hub_headers
    assert models == {
        "apps": ["vllm,llama.cpp"],
        "direction": ["-1"],
        "limit": ["200"],
        "search": ["gemma"],
        "sort": ["downloads"],
    }
    assert headers["authorization"] == "Bearer hf_secret"
    looked = [seen.headers for seen in filled.registry.seen]
    assert looked
    assert all("hf_secret" not in str(each) for each in looked)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--source", "docker", "GEMMA"], ["ai/gemma3"]),
        (["--source", "hub", "from docker"], ["ai/smollm2", "ai/lost"]),
        (["--source", "DockerHub", "-n", "1"], ["ai/gemma3"]),
        (["--source", "huggingface"], ["Org/Plain", "Org/Mixed"]),
        (["--source", "", "-n", "2"], ["ai/smollm2", "ai/gemma3"]),
    ],
)
def test_a_term_and_a_source_narrow_it_down(
    filled: Websites, dmr: "Run", arguments: list[str], names: list[str]
) -> None:
    """Docker Hub's models are compared by name and description, over all of its pages."""
    rows = json.loads(dmr("search", "--json", *arguments).out)

    assert [row["Name"] for row in rows] == names


def test_nothing_found_is_an_empty_array(websites: Websites, dmr: "Run") -> None:
    """JSON stays JSON; people are told on stderr."""
    as_json, as_table = dmr("search", "--json", "zzz"), dmr("search", "zzz")

    assert (as_json.code, as_json.out, as_json.err) == (0, "[]\n", "")
    assert (as_table.code, as_table.out, as_table.err) == (0, "", 'No models found matching "zzz"\n')


def test_a_source_that_fails_is_a_warning(filled: Websites, dmr: "Run") -> None:
    """The other one's answer stands."""
    filled.status["/v2/repositories/ai/"] = 429

    outcome = dmr("search")

    assert outcome.code == 0
    assert outcome.err == "Warning: failed to search Docker Hub: rate limited by Docker Hub\n"
    assert "hf.co/Org/Plain" in outcome.out


def test_when_all_sources_fail_so_does_the_search(filled: Websites, dmr: "Run") -> None:
    """One error names both."""
    filled.status = dict.fromkeys(filled.status, 403)

    outcome = dmr("search")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: search failed: all search sources failed: [failed to search Docker")
    assert "failed to search HuggingFace: HuggingFace answers with status 403]" in outcome.err


def test_a_list_that_goes_on_elsewhere_is_not_followed(filled: Websites, dmr: "Run") -> None:
    """Nobody sends us to another host."""
    filled.elsewhere = "http://127.0.0.1:9"

    outcome = dmr("search", "--source", "docker")

    assert "the list of Docker Hub goes on at another host" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "ebay"], 'unknown source "ebay": valid options are all, dockerhub, huggingface'),
        (["-n", "0"], "invalid value for --limit: `0` is no whole number between 1 and 1000"),
        (["a", "b"], "'dmr search' requires at most 1 argument(s)."),
    ],
)
def test_what_cannot_be_searched_is_refused(dmr: "Run", arguments: list[str], message: str) -> None:
    """Before anybody is asked."""
    outcome = dmr("search", *arguments)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1.0K"), (45600, "45.6K"), (1_200_000, "1.2M")]
)
def test_counts_are_short(count: int, text: str) -> None:
    """As the reference writes them."""
    assert text == short_count(count)


def test_the_hub_s_requests_are_seen(filled: Websites, dmr: "Run") -> None:
    """A model's files are listed with one request, and none of them is fetched."""
    dmr("search", "--source", "hf", "mix")

    asked: list[HubRequest] = filled.hub.seen
    assert {request.line for request in asked} == {
        "GET /api/models/Org/Mixed/tree/main",
        "GET /api/models/Org/Plain/tree/main",
    }
