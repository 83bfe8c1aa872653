"""The one list of commands: name, module, and the line that help prints. Nothing is imported from here."""

from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the module below `cli.commands` that implements it, and its line in the help."""

    module: str
    summary: str
    standalone: bool = False  # belongs to `dmr` only
    hidden: bool = False  # is called by programs, not by people


COMMANDS: dict[str, Entry] = {
    "bench": Entry("bench", "Measure a model's speed at several levels of concurrency"),
    "completion": Entry("completion", "Print the script by which a shell completes commands"),
    "compose": Entry("compose", "Be a provider of models for Docker Compose", hidden=True),
    "configure": Entry("configure", "Configure how a model is run"),
    "context": Entry("context", "Manage the model runners that commands can go to"),
    "df": Entry("df", "Show disk usage"),
    "events": Entry("events", "Show what happened to the models in memory, and why"),
    "explain": Entry("explain", "Explain whether a model can be loaded now, and why it waits"),
    "export": Entry("export", "Write models to an archive"),
    "gateway": Entry("gateway", "Serve one address in front of several providers of models"),
    "import": Entry("import_", "Take over models that other programs keep on this machine"),
    "inspect": Entry("inspect", "Display detailed information on one model"),
    "install-runner": Entry("install_runner", "Install the runner as a container, or an engine"),
    "launch": Entry("launch", "Start an app that uses the models here"),
    "list": Entry("list_", "List the models pulled to your local environment"),
    "load": Entry("load", "Load models from an archive or an OCI image layout"),
    "logs": Entry("logs", "Fetch the daemon's and the engines' logs"),
    "package": Entry("package", "Package files, or a variant of a model, as an OCI artifact"),
    "pin": Entry("pin", "Keep models in memory"),
    "plugin": Entry("plugin", "Make `docker model` this program", standalone=True),
    "prune": Entry("prune", "Delete files that belong to no model"),
    "ps": Entry("ps", "List running models"),
    "pull": Entry("pull", "Pull a model from a registry"),
    "purge": Entry("purge", "Remove all models"),
    "push": Entry("push", "Push a model to a registry"),
    "reinstall-runner": Entry("reinstall_runner", "Install the runner's container, or an engine, again"),
    "requests": Entry("requests", "Inspect what models were asked and what they answered"),
    "restart-runner": Entry("restart_runner", "Restart the runner's container"),
    "rm": Entry("rm", "Remove local models"),
    "run": Entry("run", "Run a model and interact with it, by a prompt or in a chat"),
    "search": Entry("search", "Search Docker Hub and Hugging Face for models"),
    "serve": Entry("serve", "Run the daemon in the foreground", standalone=True),
    "show": Entry("show", "Show what is known of one model"),
    "simulate": Entry("simulate", "Show what the scheduler would do with a trace of requests"),
    "skills": Entry("skills", "Teach coding agents how to use models on this machine"),
    "start-runner": Entry("start_runner", "Start the runner's container"),
    "status": Entry("status", "Check whether the daemon is running"),
    "stop-runner": Entry("stop_runner", "Stop the runner's container"),
    "tag": Entry("tag", "Tag a model"),
    "top": Entry("top", "Show models, memory, rates, queue and events, live"),
    "uninstall-runner": Entry("uninstall_runner", "Remove the runner's container, or an engine"),
    "unload": Entry("unload", "Unload running models"),
    "unpin": Entry("unpin", "Let pinned models go when they are idle"),
    "verify": Entry("verify", "Check that the files of models are what they were"),
    "version": Entry("version", "Show the versions of client and daemon"),
}
ALIASES = {"config": "configure", "ls": "list", "stop": "unload"}


def find(word: str, *, standalone: bool) -> tuple[str, Entry] | None:
    """Look a typed word up; the canonical name and its entry."""
    name = ALIASES.get(word, word)
    entry = COMMANDS.get(name)
    if entry is None or (entry.standalone and not standalone):
        return None
    return name, entry


def listed(*, standalone: bool) -> Iterator[tuple[str, Entry]]:
    """The commands that help and completion show, by name."""
    for name, entry in sorted(COMMANDS.items()):
        if not entry.hidden and (standalone or not entry.standalone):
            yield name, entry
