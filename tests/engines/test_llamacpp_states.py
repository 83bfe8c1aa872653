"""How llama.cpp saves and restores: its answers read, its file, and the real engine."""

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import msgspec
import pytest

from modelrunner.engines.ask import Answer, Ask
from modelrunner.engines.base import Address, Draft, EngineSettings, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.engines.llamacpp_states import LlamaCppStates
from modelrunner.engines.states import Dialogue, Slot, T
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.program import started

STATES = LlamaCppStates("key")
CHAT = "/v1/chat/completions"
TEXT = " ".join(f"Item {number} of the list is fine." for number in range(40))


def hold(dialogue: Dialogue[T], *answers: Answer) -> tuple[list[Ask], T]:
    """Hold a conversation with prepared answers; what was asked, and what came of it."""
    asked: list[Ask] = []
    rest = iter(answers)
    try:
        question = next(dialogue)
        while True:
            asked.append(question)
            question = dialogue.send(next(rest))
    except StopIteration as end:
        return asked, end.value


def ok(body: object) -> Answer:
    return Answer(200, msgspec.json.encode(body))


def head(words: Sequence[int], magic: bytes = b"qsgg") -> io.BytesIO:
    return io.BytesIO(magic + struct.pack(f"<II{len(words)}i", 4, len(words), *words) + b"state")


def test_slots_are_read_from_what_the_engine_lists() -> None:
    """A slot that has not been used yet says nothing of tokens."""
    rows = [{"id": 0, "is_processing": False}, {"id": 1, "is_processing": True, "n_prompt_tokens": 7, "x": 1}]

    assert hold(STATES.slots(), ok(rows)) == (
        [Ask("GET", "/slots")],
        (Slot(0, 0, busy=False), Slot(1, 7, busy=True)),
    )


@pytest.mark.parametrize("answer", [Answer(501, b"{}"), Answer(200, b"<html>"), ok({"slots": 4})])
def test_an_engine_that_lists_no_slots_has_none(answer: Answer) -> None:
    """Nothing is saved then."""
    assert hold(STATES.slots(), answer)[1] == ()


def test_saving_and_restoring_name_slot_and_file() -> None:
    """In the query and in the body; what counts is how much was written, and whether anything was read."""
    saved = hold(STATES.save(2, "a.part"), ok({"id_slot": 2, "n_saved": 5, "n_written": 99}))
    restored = hold(STATES.restore(1, "a.state"), ok({"n_restored": 5}))

    assert saved == ([Ask("POST", "/slots/2?action=save", b'{"filename":"a.part"}')], 99)
    assert restored == ([Ask("POST", "/slots/1?action=restore", b'{"filename":"a.state"}')], True)
    assert hold(STATES.restore(1, "a"), ok({"n_restored": 0}))[1] is False
    assert hold(STATES.restore(1, "a"), Answer(400, b"{}"))[1] is False
    assert hold(STATES.save(1, "a"), Answer(500, b"{}"))[1] is None


def test_a_chat_becomes_tokens_by_the_engines_template_and_vocabulary() -> None:
    """Its body goes to the template as it is."""
    asked, tokens = hold(
        STATES.prompt(f"{CHAT}?a=b", b"{body}"), ok({"prompt": "<s>x"}), ok({"tokens": [1, 5]})
    )

    assert [question.target for question in asked] == ["/apply-template", "/tokenize"]
    assert asked[0].body == b"{body}"
    assert msgspec.json.decode(asked[1].body) == {
        "content": "<s>x",
        "add_special": True,
        "parse_special": True,
    }
    assert tokens == [1, 5]


def test_a_completion_has_its_prompt_in_its_body() -> None:
    """As a text, or as tokens already."""
    asked, tokens = hold(STATES.prompt("/v1/completions", b'{"prompt":"x"}'), ok({"tokens": [5]}))

    assert ([question.target for question in asked], tokens) == (["/tokenize"], [5])
    assert hold(STATES.prompt("/v1/completions", b'{"prompt":[1,2]}')) == ([], [1, 2])


@pytest.mark.parametrize(
    ("target", "body", "answers"),
    [
        ("/v1/embeddings", b"{}", ()),
        ("/v1/completions", b"{}", ()),
        ("/v1/completions", b'{"prompt":["a","b"]}', ()),
        ("/v1/completions", b"no JSON", ()),
        (CHAT, b"{}", (Answer(400, b"{}"),)),
        (CHAT, b"{}", (ok({"prompt": "x"}), Answer(500, b"{}"))),
    ],
)
def test_other_requests_have_no_prompt(target: str, body: bytes, answers: tuple[Answer, ...]) -> None:
    """What is wrong with them, the engine will say."""
    assert hold(STATES.prompt(target, body), *answers)[1] is None


@pytest.mark.parametrize("words", [(1, 2, 3), (-1, 1, 3, 1, 2, 3, 0)])
def test_tokens_are_read_from_the_head_of_a_file(words: tuple[int, ...]) -> None:
    """Bare, or wrapped with a version and a count as newer builds write them."""
    found = STATES.tokens(head(words))

    assert found is not None
    assert tuple(found) == (1, 2, 3)


@pytest.mark.parametrize(
    "state",
    [
        io.BytesIO(b""),
        io.BytesIO(b"qsgg\4\0\0\0\5\0\0\0\1\0"),
        io.BytesIO(b"qsgg\4\0\0\0\xff\xff\xff\xff"),
        head((1, 2), b"gguf"),
        head((-1, 1, 9, 1, 2)),
        head((-1, 1, -2, 1, 2)),
        head((-1, 1)),
    ],
)
def test_a_file_of_another_kind_has_no_tokens(state: io.BytesIO) -> None:
    """Nor has a cut one, or one that claims more than it has."""
    assert STATES.tokens(state) is None


@pytest.mark.parametrize(
    ("tail", "count"),
    [
        (b'..."timings":{"cache_n":1870,"prompt_n":1,"prompt_ms":4.2}}', 1870),
        (b'data: {"timings":{"cache_n": 35,"prompt_n":1}}\n\ndata: [DONE]\n\n', 35),
        (b'{"usage":{"prompt_tokens":4}}', None),
        (b"", None),
    ],
)
def test_the_engines_count_is_at_the_end_of_its_answers(tail: bytes, count: int | None) -> None:
    """Streamed or not."""
    assert STATES.cached(tail) == count


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: the name of a Unix socket has 107 bytes."""
    with TemporaryDirectory(prefix="mr-") as name:
        yield Path(name)


class Running:
    """A running engine: dialogues are held with it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, question: Ask) -> Answer:
        headers = {"content-type": "application/json"}
        async with self._session.request(
            question.method, question.target, data=question.body, headers=headers
        ) as response:
            return Answer(response.status, await response.read())

    async def hold(self, dialogue: Dialogue[T]) -> T:
        try:
            question = next(dialogue)
            while True:
                question = dialogue.send(await self.ask(question))
        except StopIteration as end:
            result: T = end.value
            return result

    async def chat(self, text: str) -> tuple[bytes, int | None]:
        """A chat's body, and how many of its tokens were cached by the engine's count."""
        messages = [{"role": "user", "content": text}]
        body = msgspec.json.encode({"messages": messages, "max_tokens": 2, "temperature": 0})
        return body, STATES.cached((await self.ask(Ask("POST", CHAT, body))).body)


@asynccontextmanager
async def engine(model: Path, folder: Path, options: Options) -> AsyncIterator[Running]:
    config = ModelConfig(format=Format.GGUF, metadata={"general.architecture": "llama"})
    bundle = Bundle(root=model.parent, config=config, weights=(model,))
    path = folder / "x.sock"
    launch = LlamaCpp(EngineSettings()).launch(bundle, Mode.COMPLETION, options, Address(socket=path))
    async with started(launch.argv, launch.env) as program:
        await program.said("listening on")
        connector = aiohttp.UnixConnector(path=str(path))
        async with aiohttp.ClientSession("http://engine", connector=connector) as session:
            yield Running(session)


@pytest.mark.engine
@pytest.mark.parametrize("flags", [(), ("--parallel", "2", "-fa", "on", "-ctk", "q8_0"), ("--draft",)])
async def test_a_state_survives_the_engine(smollm2: Path, folder: Path, flags: tuple[str, ...]) -> None:
    """Saved by one process and restored by another, whose own count says that the prompt was there."""
    draft = Draft((smollm2,), tokens=4) if flags == ("--draft",) else None
    options = Options(2048, () if draft else flags, draft=draft, states=folder)
    async with engine(smollm2, folder, options) as first:
        body, cold = await first.chat(TEXT)
        [slot] = [slot for slot in await first.hold(STATES.slots()) if slot.tokens]
        size = await first.hold(STATES.save(slot.number, "a.state"))
        prompt = await first.hold(STATES.prompt(CHAT, body))
    with (folder / "a.state").open("rb") as file:
        tokens = await asyncio.to_thread(STATES.tokens, file)
    async with engine(smollm2, folder, options) as second:
        restored = await second.hold(STATES.restore(0, "a.state"))
        _, warm = await second.chat(TEXT)

    assert cold == 0
    assert prompt is not None
    assert tokens is not None
    assert list(tokens[: len(prompt)]) == list(prompt)
    assert size == (folder / "a.state").stat().st_size
    assert restored
    assert warm == len(prompt) - 1


@pytest.mark.engine
@pytest.mark.parametrize(
    ("flags", "kept"),
    [((), 1), (("--no-cache-idle-slots",), 2)],
    ids=["by default", "not cleared"],
)
async def test_how_many_conversations_are_there_to_be_saved(
    smollm2: Path, folder: Path, flags: tuple[str, ...], kept: int
) -> None:
    """A cache that all slots share is cleared of idle ones when another request comes, unless told not to."""
    async with engine(smollm2, folder, Options(4096, flags, states=folder)) as running:
        await running.chat(TEXT)
        await running.chat("Something else altogether. " * 80)  # longer than ten times what a template adds
        slots = [slot for slot in await running.hold(STATES.slots()) if slot.tokens]

        assert kept == len(slots)
        for slot in slots:
            assert await running.hold(STATES.save(slot.number, f"{slot.number}.state"))


@pytest.mark.engine
async def test_a_state_that_does_not_fit_is_refused(smollm2: Path, folder: Path) -> None:
    """A context that is too small for it, or a file that is none: the engine says no, and goes on."""
    async with engine(smollm2, folder, Options(2048, states=folder)) as first:
        await first.chat(TEXT)
        [slot] = [slot for slot in await first.hold(STATES.slots()) if slot.tokens]
        await first.hold(STATES.save(slot.number, "a.state"))
    (folder / "b.state").write_bytes(b"nonsense")
    async with engine(smollm2, folder, Options(256, states=folder)) as second:
        outcomes = [await second.hold(STATES.restore(0, name)) for name in ("a.state", "b.state", "c.state")]
        _, cached = await second.chat("Hello.")

    assert outcomes == [False, False, False]
    assert cached == 0
