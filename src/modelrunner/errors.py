"""The one tree of exceptions. `docs/reference/errors.md` lists it.

A class carries its HTTP status and its code. From the status follow, unless the class says otherwise, the
types that OpenAI's and Anthropic's APIs have for it, and the exit code. Handlers never translate: they render
what a class says. A message names what failed, with the value in backticks and without a full stop; `hint`
says what to do about it.
"""

from collections.abc import Iterator, Mapping

# A client that accepts this gets errors of the native API as JSON; others get a line of text.
MEDIA_TYPE = "application/vnd.modelrunner.error+json"


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
_EXIT_CODES = {400: 2, 401: 4, 404: 3}


def _openai_type(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


class RunnerError(Exception):
    """Something that a user can be told in a sentence."""

    status: int = 500
    code: str = "internal_error"
    openai_type: str = _openai_type(status)
    anthropic_type: str = _anthropic_type(status)
    exit_code: int = 1
    retry_after: int | None = None  # seconds; sent along as `Retry-After`

    def __init_subclass__(cls) -> None:
        """Give a class with a status of its own what follows from that, where it does not say otherwise."""
        own = vars(cls)
        if "status" in own:
            cls.openai_type = own.get("openai_type", _openai_type(cls.status))
            cls.anthropic_type = own.get("anthropic_type", _anthropic_type(cls.status))
            cls.exit_code = own.get("exit_code", _EXIT_CODES.get(cls.status, 1))

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


class WrongMethod(UnknownRoute):
    """The path is there, but for other methods; `detail` has those as `allow`, which is answered too."""

    status = 405
    code = "wrong_method"
    exit_code = 3


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


class Forbidden(RunnerError):
    """The request comes from a Host or an Origin that is not allowed."""

    status = 403
    code = "forbidden"


class ModelNotFound(RunnerError):
    """The model is neither here nor where it was looked for."""

    status = 404
    code = "model_not_found"


class EngineNotFound(RunnerError):
    """No engine has that name."""

    status = 404
    code = "engine_not_found"


class ResponseNotFound(RunnerError):
    """No response of that id is kept."""

    status = 404
    code = "not_found"


class ContextNotFound(RunnerError):
    """No context has that name. Raised by the command line only."""

    status = 404
    code = "context_not_found"


class TransferNotFound(RunnerError):
    """No pull or push of that name is under way, or is remembered."""

    status = 404
    code = "transfer_not_found"


class NotWaiting(RunnerError):
    """No request of that name waits in line: it is being served, has ended, or never was."""

    status = 404
    code = "not_waiting"


class RequestNotFound(RunnerError):
    """No request of that number or name is recorded."""

    status = 404
    code = "request_not_found"


class Conflict(RunnerError):
    """What was asked for collides with something that exists: a use, another tag, a taken port."""

    status = 409
    code = "conflict"


class EngineNotInstalled(RunnerError):
    """The engine is known but cannot run here yet."""

    status = 412
    code = "engine_not_installed"


class UnsupportedEncoding(InvalidRequest):
    """The body is compressed, which is not undone here."""

    status = 415
    code = "unsupported_encoding"


class RequestTooLarge(RunnerError):
    """The body is larger than the daemon reads."""

    status = 413
    code = "request_too_large"


class UnsupportedModel(RunnerError):
    """A format, media type or mode that nothing here can serve."""

    status = 422
    code = "unsupported_model"


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


class ShuttingDown(RunnerError):
    """The daemon takes no new work."""

    status = 503
    code = "shutting_down"
    retry_after = 1


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


class BlobMissing(StoreError):
    """A blob that had arrived is gone, or is cut short."""

    code = "blob_missing"


class EngineFailed(RunnerError):
    """The engine crashed, could not start, or answered nonsense."""

    code = "engine_failed"


class EngineFailing(EngineFailed):
    """The engine failed several times in a row with this model, and is not tried for a while."""

    status = 503
    code = "engine_failing"
    anthropic_type = "api_error"


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
        self.openai_type = _openai_type(status)
        self.anthropic_type = _anthropic_type(status)


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


class ProviderFailed(RunnerError):
    """A provider behind the gateway refused; the status is the provider's."""

    status = 502
    code = "provider_failed"
    openai_type = "upstream_error"

    def __init__(self, message: str, status: int = 502, *, hint: str | None = None) -> None:
        """Keep what the provider said, and its status."""
        super().__init__(message, hint=hint)
        self.status = status


class ProviderUnreachable(ProviderFailed):
    """A provider behind the gateway could not be asked, was silent, broke off, or answered nonsense."""

    code = "provider_unreachable"


class NoProviderLeft(RunnerError):
    """All providers that the gateway could ask for a model have failed."""

    status = 503
    code = "no_provider_left"


class DockerFailed(RunnerError):
    """The Docker Engine does not answer, or refused. Raised by the command line only."""

    status = 502
    code = "docker_failed"


class DaemonUnreachable(RunnerError):
    """No daemon answers. Raised by the client only."""

    status = 503
    code = "daemon_unreachable"
    anthropic_type = "api_error"
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
