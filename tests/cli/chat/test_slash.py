"""The commands of a chat."""

import base64
import json
from pathlib import Path

import pytest

from modelrunner.cli.chat.slash import Next, State, is_command, obey
from modelrunner.cli.chat.statistics import Measured
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.client import Usage
from modelrunner.errors import Conflict, ModelNotFound
from modelrunner.wire.models import ModelView


class Hands:
    """What commands do beyond the chat, remembered."""

    def __init__(self, chats: Path = Path()) -> None:
        self.chats = chats
        self.sizes: list[int] = []
        self.loaded: list[str] = []
        self.written: list[str] = []
        self.edited = ""
        self.refusal: Conflict | None = None

    def set_context_size(self, tokens: int) -> None:
        if self.refusal:
            raise self.refusal
        self.sizes.append(tokens)

    def models(self) -> list[str]:
        return ["other", "smollm2"]

    def describe(self, name: str) -> ModelView | None:
        if name not in self.models():
            raise ModelNotFound(f"model not found: `{name}`")
        return {"id": "x", "created": 0, "config": {"parameters": "135M", "context_size": 2048}}

    def preload(self, name: str) -> None:
        self.loaded.append(name)

    def edit(self, text: str) -> str:
        self.edited = text
        return f"{text} please"

    def write(self, sequence: str) -> None:
        self.written.append(sequence)


@pytest.fixture
def state() -> State:
    return State("smollm2")


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    return Hands(tmp_path)


def _said(line: str, state: State, hands: Hands, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert obey(line, state, hands) == Next()
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize("line", ["/bye", "/exit", "/bye  ", "/BYE"])
def test_a_chat_can_be_left(line: str, state: State, hands: Hands) -> None:
    """Both words end it."""
    assert obey(line, state, hands).leave


@pytest.mark.parametrize(
    ("line", "out", "err"),
    [
        ("/?", "", "Available Commands"),
        ("/help", "", "Available Commands"),
        ("/? shortcuts", "", "Ctrl + w"),
        ("/? file", "", "@path"),
        ("/? set", "", "num_ctx"),
        ("/set", "", "num_ctx"),
        ("/set bogus", "", "Unknown /set option: bogus"),
        ("/set num_ctx", "", "Usage: /set num_ctx <value>"),
        ("/set num_ctx -5", "", "Invalid value for num_ctx: -5 (must be a positive integer)"),
        ("/set num_ctx 0", "", "Invalid value for num_ctx: 0 (must be a positive integer)"),
        ("/set num_ctx \u00b2", "", "Invalid value for num_ctx"),
        ("/set parameter heat 1", "", "Unknown parameter: heat\nAvailable parameters: num_ctx, temperature"),
        ("/set parameter top_p 2", "", "Invalid value for top_p: 2 (must be a number from 0 to 1)"),
        ("/set parameter top_k x", "", "Invalid value for top_k: x (must be a whole number of at least 0)"),
        ("/set parameter temperature nan", "", "Invalid value for temperature: nan"),
        ("/set thoughts", "", "Invalid value for thoughts:  (must be one of: show, fold, hide)"),
        ("/set websearch maybe", "", "Neither on nor off: maybe"),
        ("/set format xml", "", "Invalid value for format: xml"),
        ("/bogus now", "Unknown command '/bogus'. Type /? for help", ""),
        ("/", "Unknown command '/'. Type /? for help", ""),
        ("/clear", "", "Cleared the conversation."),
        ("/retry", "", "Nothing was asked yet."),
        ("/copy", "", "There is no answer to copy yet."),
        ("/copy that", "", "Usage: /copy"),
        ("/save", "", "Usage: /save NAME"),
        ("/save x", "", "There is nothing to save yet."),
        ("/load", "", "No conversations are saved."),
        ("/load nothing", "", "cannot read"),
        ("/show me", "", "Usage: /show"),
        ("/system", "", "No system message."),
        ("/model nobody", "", "model not found: `nobody`"),
        ("/stats", "", "answers"),
    ],
)
def test_commands_answer_in_words(
    line: str, out: str, err: str, state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help and mistakes are told apart from the answers of the model."""
    assert obey(line, state, hands) == Next()

    captured = capsys.readouterr()
    assert (bool(out), bool(err)) == (bool(captured.out), bool(captured.err))
    assert out in captured.out
    assert err in captured.err


def test_the_system_prompt_is_set_and_cleared(
    state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """By both commands; without text `/set system` clears it, and `/system` shows it."""
    obey("/set system Be brief.", state, hands)
    assert state.conversation.system == "Be brief."
    obey("/set system", state, hands)
    assert state.conversation.system == ""
    obey("/system Be kind.", state, hands)
    assert _said("/system", state, hands, capsys) == "Be kind.\n"
    obey('/system ""', state, hands)

    assert state.conversation.system == ""


@pytest.mark.parametrize("line", ["/set num_ctx 4096", "/set parameter num_ctx 4096"])
def test_the_context_size_is_configured(
    line: str, state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both forms reach the daemon."""
    assert _said(line, state, hands, capsys) == "Set num_ctx to 4096\n"

    assert hands.sizes == [4096]


def test_a_refused_context_size_keeps_the_chat(
    state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon's reason is shown."""
    hands.refusal = Conflict("runner already active")

    said = _said("/set num_ctx 10", state, hands, capsys)

    assert said == "Failed to set num_ctx: runner already active\n"


def test_settings_go_along_with_requests(state: State, hands: Hands) -> None:
    """Under the names of the API; a parameter without a value is the model's own again."""
    for line in (
        "/set parameter temp 0.5",
        "/set parameter num_predict 20",
        "/set parameter seed 7",
        "/set parameter seed",
        "/set parameter stop END Over",
        "/set think off",
        "/set format json",
        "/set thoughts hide",
        "/set websearch on",
    ):
        obey(line, state, hands)

    assert state.options.fields() == {
        "temperature": 0.5,
        "max_tokens": 20,
        "stop": ["END", "Over"],
        "chat_template_kwargs": {"enable_thinking": False},
        "response_format": {"type": "json_object"},
    }
    assert (state.thoughts, state.websearch) == (Thoughts.HIDE, True)


def test_another_model_takes_over(state: State, hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    """It is loaded at once; an unknown one changes nothing."""
    assert _said("/model", state, hands, capsys) == "  other\n* smollm2\n"
    obey("/model nobody", state, hands)
    assert state.model == "smollm2"
    obey("/model other", state, hands)

    assert (state.model, hands.loaded) == ("other", ["other"])


def test_the_last_question_is_asked_again(state: State, hands: Hands) -> None:
    """One that failed before one that was answered."""
    state.conversation.add("with a file", "yes", "with @file")
    assert obey("/retry", state, hands) == Next(ask="with a file", typed="with @file")
    state.unanswered = state.conversation.turns[0]._replace(prompt="failed", typed="failed")

    assert obey("/retry", state, hands) == Next(ask="failed", typed="failed")


def test_the_last_question_is_edited_as_it_was_typed(state: State, hands: Hands) -> None:
    """Its files are read again when it is asked."""
    state.conversation.add("with a file", "yes", "with @file")

    assert obey("/edit", state, hands) == Next(ask="", typed="with @file please")
    assert hands.edited == "with @file"


def test_answers_are_copied_through_the_terminal(
    state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of one, or its last block of code; what no terminal takes is refused."""
    state.answer = "Do\n```sh\nls\n```\nor\n````\n```\n````\n"
    obey("/copy", state, hands)
    obey("/copy code", state, hands)
    state.answer = "x" * 100_000
    assert "Too long for the clipboard" in _said("/copy", state, hands, capsys)
    state.answer = "no code"
    assert "There is no code to copy." in _said("/copy code", state, hands, capsys)

    texts = [base64.b64decode(written[7:-1]).decode() for written in hands.written]
    assert texts == ["Do\n```sh\nls\n```\nor\n````\n```\n````", "```"]
    assert all(written.startswith("\x1b]52;c;") for written in hands.written)


def test_a_conversation_is_saved_and_goes_on(
    state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its system message and parameters; unknown parameters of a file are left out."""
    image: list[dict[str, object]] = [{"type": "image_url", "image_url": {"url": "data:x"}}]
    state.conversation.system = "Be brief."
    state.conversation.add("hi", "hello")
    state.conversation.add(image, "a cat", "/cat.png")
    state.options.set("seed", "7")
    obey("/save trip", state, hands)
    path = hands.chats / "trip.json"
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "parameters": {"seed": 7, "model": "evil"}}))

    other = State("other")
    said = _said("/load trip", other, hands, capsys)

    assert said == "Loaded 2 turns.\nThey were with smollm2; `/model smollm2` goes on with it.\n"
    assert list(other.conversation.turns) == list(state.conversation.turns)
    assert (other.conversation.system, other.options.parameters) == ("Be brief.", {"seed": 7})
    assert _said("/load", other, hands, capsys) == "trip\n"


def test_a_conversation_is_saved_as_text(state: State, hands: Hands) -> None:
    """To a path that ends in `.md`."""
    state.conversation.add("Who?\nReally?", "Me.")

    obey(f"/save {hands.chats}/chat.md", state, hands)

    assert (hands.chats / "chat.md").read_text() == "# smollm2\n\n> Who?\n> Really?\n\nMe.\n"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "turns": 3}', "\udcff", "[" * 100_000]
)
def test_what_was_not_saved_here_is_refused(
    text: str, state: State, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, and the conversation stays."""
    (hands.chats / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    state.conversation.add("hi", "hello")

    assert "no conversation that was saved here" in _said("/load x", state, hands, capsys)
    assert len(state.conversation.turns) == 1


def test_what_is_in_force_is_shown(state: State, hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    """Model, settings and messages; nothing in them steers the terminal."""
    state.conversation.add("hi\x1b[2J", "hello\x1b]0;x\x07")
    state.options.set("seed", "7")
    shown = _said("/show", state, hands, capsys)
    messages = _said("/show messages", state, hands, capsys)

    assert "  parameters  135M\n" in shown
    assert "  context     2,048 tokens\n" in shown
    assert "  seed        7\n" in shown
    assert messages == "> hi\ufffd[2J\n\nhello\ufffd]0;x\ufffd\n\n"


def test_clearing_forgets_what_was_counted(state: State, hands: Hands) -> None:
    """Nothing of the context is used any more."""
    state.conversation.add("hi", "hello")
    state.statistics.add(Measured(Usage(1, 2, 3), 0.1, 0.2, 10.0))

    obey("/clear", state, hands)

    assert (state.statistics.used, list(state.conversation.turns)) == (0, [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/bye", True),
        ("/? set", True),
        ("/", True),
        ("/set system /a/b.png", True),
        ("/nosuch", True),
        ("/home/me/a.png what is this?", False),
        ("/home/me/a\\ b.png", False),
        ("hello /bye", False),
    ],
)
def test_a_path_is_no_command(line: str, expected: bool) -> None:
    """Nor is a file that is dragged into the terminal."""
    assert expected == is_command(line)
