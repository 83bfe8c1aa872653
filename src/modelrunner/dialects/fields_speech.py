"""The fields of OpenAI's requests about sound; the first two are forms, whose lists have a name with `[]`.

Source: OpenAI API reference, "Create transcription", "Create translation" and "Create speech".
"""

from modelrunner.dialects.fields import Field, Fields, passed, refused, taken

_HEARD = (
    passed("model", "ai/whisper", "a Whisper model; any name of it, or its id"),
    passed("file", "speech.wav", "WAV, MP3, FLAC, Ogg, Opus, M4A, MP4, WebM and others, of any length"),
    passed("prompt", "Names: Ada", "the model reads the end of it, and a longer file's own text after that"),
    passed("response_format", "srt", "`json`, `text`, `srt`, `vtt` or `verbose_json`"),
    passed("temperature", 0.5, "0 to 1; 0 goes up as long as nothing is understood"),
    passed("stream", "true", "events, one for each segment; with `json` and `text`"),
)


def _transcribed() -> tuple[Field, ...]:
    return (
        *_HEARD,
        passed("language", "en", "a code of ISO 639; without it, the model finds out"),
        passed("languages", ["en", "de"], "one of these is found out"),
        passed("keywords", ["Ada"], "words that may be said; at most 100"),
        passed(
            "timestamp_granularities",
            ["word"],
            "`word`, `segment` or both",
            response_format="verbose_json",
        ),
        refused("response_format", "diarized_json", "no model here tells speakers apart"),
        refused("known_speaker_names", ["Ada"], "no model here tells speakers apart"),
        refused("known_speaker_references", ["data:…"], "no model here tells speakers apart"),
        refused("include", ["logprobs"], "segments of `verbose_json` have their `avg_logprob`"),
        refused("chunking_strategy", "auto", "all of the sound is heard"),
    )


TRANSCRIPTIONS = Fields(
    "Transcriptions",
    "/v1/audio/transcriptions",
    {"model": "ai/whisper", "file": "speech.wav"},
    _transcribed(),
    "A form, `multipart/form-data`, which goes to the engine as it is. Other fields are ignored.",
)

TRANSLATIONS = Fields(
    "Translations",
    "/v1/audio/translations",
    {"model": "ai/whisper", "file": "speech.wav"},
    _HEARD,
    "A form, as for transcriptions; the text is English, whatever the language of the sound. Models that know"
    " English only refuse it.",
)

SPEECH = Fields(
    "Speech",
    "/v1/audio/speech",
    {"model": "ai/joe", "input": "Hello.", "voice": "alloy"},
    (
        passed("model", "ai/joe", "a voice of Piper; any name of it, or its id"),
        passed("input", "Good day.", "at most 4,096 characters"),
        passed("voice", "ann", "a speaker of the model; any of OpenAI's names is its first"),
        passed("response_format", "wav", "`mp3`, `opus`, `flac`, `wav`, or `pcm` of 24 kHz and 16 bits"),
        refused("response_format", "aac", "there is no encoder for it"),
        passed("speed", 1.5, "0.25 to 4"),
        passed("stream_format", "sse", "`audio` or `sse`; sentences are sent when they are spoken"),
        refused("instructions", "Whisper.", "a voice speaks as it does"),
        taken("user", "me"),
    ),
    "Fields that are not in this table are ignored.",
)

ENDPOINTS = (TRANSCRIPTIONS, TRANSLATIONS, SPEECH)
