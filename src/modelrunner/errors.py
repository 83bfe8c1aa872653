"""The one tree of exceptions. A class carries its HTTP status, code, API error types and exit code.

    RunnerError
    ├── InvalidRequest          the caller asked for something malformed
    │   ├── InvalidReference    text that is no model reference
    │   ├── InvalidManifest     a manifest or an index that is none, or contradicts itself
    │   ├── InvalidArchive      an archive that is none, is cut short, or means harm
    │   ├── UnknownFlag         a runtime flag that may not be passed
    │   ├── UnknownRoute        a path that leads nowhere
    │   │   └── WrongMethod         a path that is there, for other methods
    │   ├── ContextExceeded     a prompt that does not fit into the context
    │   └── PreviousNotFound    a response that one is to follow is not kept here
    ├── Unauthorized            credentials are missing or refused
    ├── Forbidden               a foreign Host or Origin
    ├── ModelNotFound           neither here nor where it was looked for
    ├── EngineNotFound          no engine of that name
    ├── ResponseNotFound        no response of that id is kept
    ├── ContextNotFound         no context of that name; raised by the command line only
    ├── NotWaiting              no request of that name waits in line
    ├── RequestNotFound         no request of that number or name is recorded
    ├── Conflict                in use, several tags, port taken
    ├── EngineNotInstalled
    ├── RequestTooLarge
    ├── UnsupportedModel        a format, media type or mode that nothing here can serve
    │   ├── UnsafePath          a name of a file that leads outside
    │   └── DamagedWeights      a file of weights that is cut short, or has a header that cannot be
    ├── Busy                    the waiting line is full
    ├── ShuttingDown
    ├── InsufficientMemory
    ├── PlacesTaken             pinned models leave no place
    ├── InsufficientStorage
    ├── DigestMismatch          bytes that are not what their digest says
    ├── StoreError              the store on disk cannot be read or written
    ├── EngineFailed            the engine crashed or answered nonsense
    │   ├── PortTaken               another program took its port before it listened
    │   └── EngineFailing       it did so several times in a row, and is not tried for a while
    ├── InstallFailed           an engine could not be installed or removed
    ├── EngineRefused           the engine answered with an error of its own, whose status it keeps
    ├── NotReadyInTime
    ├── DeadlineExceeded        the request took longer than its deadline
    ├── RegistryError           the registry said no, or nonsense
    │   ├── RegistryUnreachable
    │   └── TransferInterrupted     the bytes of a blob broke off on the way; trying again may help
    ├── DockerFailed            the Docker Engine does not answer, or refused; raised by the command line only
    └── DaemonUnreachable       raised by the client only

Handlers never translate: they render `status` and `code`. The messages name what failed, with the value in
backticks and without a full stop; `hint` says what to do about it.
"""

from collections.abc import Iterator, Mapping

# A client that accepts this gets errors of the native API as JSON; others get a line of text.
MEDIA_TYPE = "application/vnd.modelrunner.error+json"


class RunnerError(Exception):
    """Something that a user can be told in a sentence."""

    status: int = 500
    code: str = "internal_error"
    openai_type: str = "server_error"
    anthropic_type: str = "api_error"
    exit_code: int = 1
    retry_after: int | None = None  # seconds; sent along as `Retry-After`

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        detail: Mapping[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Keep the sentence, the way out, what a log should have besides, and when to try again."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail: Mapping[str, object] = detail or {}
        if retry_after is not None:
            self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class InvalidRequest(RunnerError):
    """The caller asked for something malformed."""

    status = 400
    code = "invalid_request"
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    exit_code = 2


class InvalidReference(InvalidRequest):
    """Text that is no model reference."""

    code = "invalid_reference"


class InvalidManifest(InvalidRequest):
    """A manifest or an index that is none, is too large, or contradicts itself."""

    code = "invalid_manifest"


class InvalidArchive(InvalidRequest):
    """An archive that is none, is cut short, or holds what no model needs: links, ways out, bombs."""

    code = "invalid_archive"


class UnknownFlag(InvalidRequest):
    """A runtime flag that may not be passed to the engine."""

    code = "unknown_flag"


class UnknownRoute(InvalidRequest):
    """Nothing is at this path."""

    status = 404
    code = "unknown_route"
    anthropic_type = "not_found_error"
    exit_code = 3


class WrongMethod(UnknownRoute):
    """The path is there, but for other methods; `detail` has those as `allow`, which is answered too."""

    status = 405
    code = "wrong_method"
    anthropic_type = "invalid_request_error"


class ContextExceeded(InvalidRequest):
    """The prompt does not fit into the context that the model runs with."""

    code = "context_length_exceeded"


class PreviousNotFound(InvalidRequest):
    """A response that another is to follow is not kept here, or not any more."""

    code = "previous_response_not_found"


class Unauthorized(RunnerError):
    """Credentials are missing or refused."""

    status = 401
    code = "unauthorized"
    openai_type = "authentication_error"
    anthropic_type = "authentication_error"
    exit_code = 4


class Forbidden(RunnerError):
    """The request comes from a Host or an Origin that is not allowed."""

    status = 403
    code = "forbidden"
    openai_type = "invalid_request_error"
    anthropic_type = "permission_error"


class ModelNotFound(RunnerError):
    """The model is neither here nor where it was looked for."""

    status = 404
    code = "model_not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class EngineNotFound(RunnerError):
    """No engine has that name."""

    status = 404
    code = "engine_not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class ResponseNotFound(RunnerError):
    """No response of that id is kept."""

    status = 404
    code = "not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class ContextNotFound(RunnerError):
    """No context has that name. Raised by the command line only."""

    status = 404
    code = "context_not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class TransferNotFound(RunnerError):
    """No pull or push of that name is under way, or is remembered."""

    status = 404
    code = "transfer_not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class NotWaiting(RunnerError):
    """No request of that name waits in line: it is being served, has ended, or never was."""

    status = 404
    code = "not_waiting"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class RequestNotFound(RunnerError):
    """No request of that number or name is recorded."""

    status = 404
    code = "request_not_found"
    openai_type = "invalid_request_error"
    anthropic_type = "not_found_error"
    exit_code = 3


class Conflict(RunnerError):
    """What was asked for collides with something that exists: a use, another tag, a taken port."""

    status = 409
    code = "conflict"
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"


class EngineNotInstalled(RunnerError):
    """The engine is known but cannot run here yet."""

    status = 412
    code = "engine_not_installed"
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"


class RequestTooLarge(RunnerError):
    """The body is larger than the daemon reads."""

    status = 413
    code = "request_too_large"
    openai_type = "invalid_request_error"
    anthropic_type = "request_too_large"


class UnsupportedModel(RunnerError):
    """A format, media type or mode that nothing here can serve."""

    status = 422
    code = "unsupported_model"
    openai_type = "invalid_request_error"
    anthropic_type = "invalid_request_error"


class UnsafePath(UnsupportedModel):
    """A file of a model has a name that leads outside, or that no file can have."""

    code = "unsafe_path"


class DamagedWeights(UnsupportedModel):
    """A file of weights is cut short, or its header has counts and lengths that cannot be."""

    code = "damaged_weights"


class Busy(RunnerError):
    """The waiting line is full; answered with `Retry-After`."""

    status = 503
    code = "busy"
    retry_after = 1
    anthropic_type = "overloaded_error"


class ShuttingDown(RunnerError):
    """The daemon takes no new work."""

    status = 503
    code = "shutting_down"
    retry_after = 1
    anthropic_type = "overloaded_error"


class InsufficientMemory(RunnerError):
    """There is not enough memory for the model: it cannot fit even alone, or others hold what it needs."""

    status = 507
    code = "insufficient_memory"


class PlacesTaken(RunnerError):
    """Pinned models have all the places that there are for models in memory."""

    status = 507
    code = "places_taken"


class InsufficientStorage(RunnerError):
    """The disk is full, or would be."""

    status = 507
    code = "insufficient_storage"


class DigestMismatch(RunnerError):
    """Bytes are not what their digest says."""

    code = "digest_mismatch"


class StoreError(RunnerError):
    """The store on disk cannot be read or written."""

    code = "store_error"


class EngineFailed(RunnerError):
    """The engine crashed, could not start, or answered nonsense."""

    code = "engine_failed"


class EngineFailing(EngineFailed):
    """The engine failed several times in a row with this model, and is not tried for a while."""

    status = 503
    code = "engine_failing"


class PortTaken(EngineFailed):
    """Another program took the engine's port before it listened; the next start has another port."""

    code = "port_taken"


class InstallFailed(RunnerError):
    """An engine could not be installed, or not be removed."""

    code = "install_failed"


class EngineRefused(RunnerError):
    """The engine answered a request with an error of its own; the status is the engine's."""

    code = "engine_refused"

    def __init__(self, message: str, status: int = 502, *, hint: str | None = None) -> None:
        """Keep what the engine said; who is at fault, its status tells."""
        super().__init__(message, hint=hint)
        self.status = status
        if status < 500:
            self.openai_type = "invalid_request_error"
        self.anthropic_type = _ANTHROPIC_TYPES.get(
            status, "invalid_request_error" if status < 500 else "api_error"
        )


# Source: Anthropic's API reference, "Errors".
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class NotReadyInTime(RunnerError):
    """The engine did not become ready before its deadline."""

    status = 504
    code = "not_ready"


class DeadlineExceeded(RunnerError):
    """The request took longer than its deadline allows."""

    status = 504
    code = "deadline_exceeded"
    anthropic_type = "timeout_error"


class RegistryError(RunnerError):
    """The registry said no, or something that is not the protocol."""

    status = 502
    code = "registry_error"


class RegistryUnreachable(RegistryError):
    """No connection to the registry: down, refused, unknown name, or a failed TLS handshake."""

    code = "registry_unreachable"


class TransferInterrupted(RegistryError):
    """The bytes of a blob broke off on the way; trying again may help."""

    code = "transfer_interrupted"


class DockerFailed(RunnerError):
    """The Docker Engine does not answer, or refused. Raised by the command line only."""

    status = 502
    code = "docker_failed"


class DaemonUnreachable(RunnerError):
    """No daemon answers. Raised by the client only."""

    status = 503
    code = "daemon_unreachable"
    exit_code = 5


def _tree(cls: type[RunnerError]) -> Iterator[type[RunnerError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def unforeseen(exc: Exception) -> RunnerError:
    """Make what a user is told of an exception that nobody foresaw; the traceback belongs into the log."""
    return RunnerError(f"internal error: {type(exc).__name__}", hint="see the log: `dmr logs`")


def rebuild(code: str, message: str, hint: str | None = None) -> RunnerError:
    """Make again the error that the daemon sent; the base class for an unknown code."""
    classes = {cls.code: cls for cls in _tree(RunnerError)}
    return classes.get(code, RunnerError)(message, hint=hint)
