"""Write deploy/grafana/modelrunner.json: a dashboard of the daemon's metrics."""

import json
from pathlib import Path

TARGET = Path(__file__).parent.parent / "deploy" / "grafana" / "modelrunner.json"
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_OF = '{model=~"$model"}'


def _quantile(share: float, family: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({family}_bucket{_OF}[$__rate_interval])))"


def _rate(family: str, by: str, having: str = _OF) -> str:
    return f"sum by ({by}) (rate({family}{having}[$__rate_interval]))"


# Title, unit, and what is drawn: a query and what it is called.
PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Requests",
        "reqps",
        ((_rate("modelrunner_requests_total", "model, outcome"), "{{model}} {{outcome}}"),),
    ),
    (
        "Time to first token",
        "s",
        tuple(
            (_quantile(share, "modelrunner_time_to_first_token_seconds"), f"p{100 * share:.0f}")
            for share in (0.5, 0.9, 0.99)
        ),
    ),
    (
        "Duration",
        "s",
        tuple(
            (_quantile(share, "modelrunner_request_duration_seconds"), f"p{100 * share:.0f}")
            for share in (0.5, 0.9, 0.99)
        ),
    ),
    ("Tokens", "short", ((_rate("modelrunner_tokens_total", "model, kind"), "{{model}} {{kind}}"),)),
    (
        "Tokens per second of an answer",
        "short",
        ((_quantile(0.5, "modelrunner_tokens_per_second"), "median"),),
    ),
    (
        "Waiting and in flight",
        "short",
        (
            (f"sum by (model) (modelrunner_queue_requests{_OF})", "{{model}} waits"),
            (f"sum by (model) (modelrunner_requests_in_flight{_OF})", "{{model}} in flight"),
        ),
    ),
    (
        "Memory",
        "bytes",
        (
            (f"sum by (model, device) (modelrunner_model_memory_bytes{_OF})", "{{model}} {{device}}"),
            ("modelrunner_memory_free_bytes", "free {{device}}"),
            ("modelrunner_memory_capacity_bytes", "capacity {{device}}"),
        ),
    ),
    (
        "Models that left memory",
        "short",
        ((f"sum by (model, reason) (increase(modelrunner_model_unloads_total{_OF}[$__rate_interval]))",
          "{{model}} {{reason}}"),),
    ),
    (
        "Load time",
        "s",
        ((_quantile(0.5, "modelrunner_model_load_seconds"), "median"),),
    ),
    (
        "Failures",
        "short",
        (
            (f"sum by (model, reason) (increase(modelrunner_engine_failures_total{_OF}[$__rate_interval]))",
             "{{model}} {{reason}}"),
            ("sum by (reason) (increase(modelrunner_requests_refused_total[$__rate_interval]))",
             "refused {{reason}}"),
        ),
    ),
    (
        "Pulls and pushes",
        "Bps",
        ((_rate("modelrunner_transfer_bytes_total", "kind", ""), "{{kind}}"),),
    ),
    (
        "Recorder",
        "short",
        (
            ("modelrunner_recorder_waiting", "waiting"),
            ("increase(modelrunner_recorder_dropped_total[$__rate_interval])", "dropped"),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, object]:
    """The document that Grafana imports."""
    return {
        "title": "Model Runner",
        "uid": "modelrunner",
        "schemaVersion": 39,
        "tags": ["llm"],
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "editable": True,
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "model",
                    "label": "Model",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": {"query": "label_values(modelrunner_requests_total, model)", "refId": "models"},
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": title,
                "datasource": _SOURCE,
                "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
                "targets": [
                    {
                        "refId": chr(ord("A") + place),
                        "datasource": _SOURCE,
                        "expr": query,
                        "legendFormat": legend,
                    }
                    for place, (query, legend) in enumerate(drawn)
                ],
            }
            for number, (title, unit, drawn) in enumerate(PANELS)
        ],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text())
