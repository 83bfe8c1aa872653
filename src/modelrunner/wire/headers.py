"""Headers and media types of our own."""

from modelrunner import errors

ERROR_MEDIA_TYPE = errors.MEDIA_TYPE  # of `ErrorBody`
NDJSON = "application/x-ndjson"
PRELOAD_HEADER = "X-Preload-Only"
RECORD_HEADER = "X-Record"  # `off`: this request is not recorded
REPLAY_HEADER = "X-Replay-Of"  # the number of the request that this one repeats
