"""Write the pages of docs/tools about the apps of `launch`, from the table that `launch` has."""

import textwrap
from pathlib import Path

from modelrunner.cli.apps import BUILT_IN, App, Bases, Use, command, environment, notes

TOOLS = Path(__file__).parent.parent / "docs" / "tools"
NOTE = "This page is generated from the table that `dmr launch` has; `make docs` writes it."
BASES = Bases("http://host.docker.internal:12434", "http://localhost:12434")
MODEL = "ai/qwen3"
TITLES = {
    "anythingllm": "AnythingLLM",
    "claude": "Claude Code",
    "codex": "Codex",
    "openclaw": "OpenClaw",
    "opencode": "OpenCode",
    "openwebui": "Open WebUI",
}
ABOUT = {
    "anythingllm": "A desktop for documents and agents. Its provider is called Docker Model Runner; in its "
    "settings that is LLM Preference > Docker Model Runner, with the base path below.",
    "claude": "Claude Code speaks Anthropic's API, which the daemon translates for every engine. Choose a "
    "model that can call tools, and give it context: `dmr configure --context-size 32768 MODEL`. The base "
    "address without `/anthropic` works too.",
    "codex": "Codex needs the Responses API, which is at `/v1/responses`; the daemon keeps conversations. "
    "Choose a model that can call tools, and give it context.",
    "openclaw": "OpenClaw takes its providers from its own configuration, not from variables, so `launch` "
    "prints what to set before it starts it.",
    "opencode": "With `--model` the provider `dmr` and the model are put into OpenCode's files, "
    "`~/.config/opencode/opencode.json` and `~/.local/state/opencode/model.json`, for as long as it runs; "
    "afterwards the files are as they were.",
    "openwebui": "A chat in the browser, at `http://localhost:3000`. It can talk to the daemon as OpenAI, as "
    "`launch` sets it, or as Ollama, where it can pull models from its own settings: set "
    "`OLLAMA_BASE_URL=http://host.docker.internal:12434` instead.",
}
BY_HAND = {
    "opencode": """
To set it for good, in `~/.config/opencode/opencode.json`:

```json
{
  "$schema": "https://opencode.ai/config.json",
  "provider": {
    "dmr": {
      "npm": "@ai-sdk/openai-compatible",
      "name": "Docker Model Runner (local)",
      "options": { "baseURL": "http://localhost:12434/v1" },
      "models": { "ai/qwen3": { "name": "ai/qwen3" } }
    }
  }
}
```
""",
    "openwebui": """
On Linux have the daemon listen where containers reach it; [how](../guides/apps.md#from-containers).
""",
}


_VALUED = frozenset({"-p", "-v", "-e", "--add-host"})


def page(app: App) -> str:
    """One app: what it is, how it is launched, what is set by hand."""
    use = Use(BASES)
    title = TITLES[app.name]
    parts = [
        f"# {title}\n\n{NOTE}\n\n{_wrapped(ABOUT[app.name])}\n",
        f"\n## Launch it\n\n```console\n{_launch(app)}```\n",
    ]
    if app.image:
        words = " \\\n    ".join(_lines(command(app, use)))
        parts.append(f"\n## By hand\n\n```console\n$ {words}\n```\n")
    elif variables := environment(app, use):
        lines = "".join(f"$ export {name}={value}\n" for name, value in variables.items())
        parts.append(f"\n## By hand\n\n```console\n{lines}$ {app.program}\n```\n")
    if told := notes(app, use):
        lines = "".join(f"{line}\n" for line in told)
        parts.append(f"\n## By hand\n\n```text\n{lines}```\n")
    parts.append(BY_HAND.get(app.name, ""))
    return "".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def _launch(app: App) -> str:
    lines = [f"$ dmr launch {app.name}{' --detach' if app.image else ''}\n"]
    if app.takes_model:
        lines.append(f"$ dmr launch {app.name} --model {MODEL}\n")
    return "".join(lines)


def _lines(words: list[str]) -> list[str]:
    """Put a flag and its value on a line."""
    left = iter(words[2:])
    pairs = (f"{word} {next(left)}" if word in _VALUED else word for word in left)
    return [" ".join(words[:2]), *pairs]


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {f"{app.name}.md": page(app) for app in BUILT_IN}


if __name__ == "__main__":
    for file_name, content in pages().items():
        (TOOLS / file_name).write_text(content)
