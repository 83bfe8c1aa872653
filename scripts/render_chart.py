"""Render the Helm chart with the values on stdin, check every document, and print them as JSON.

It is run by the Python of `scripts/install_chart_tools.py`. What Helm or a schema of Kubernetes refuses goes
to stderr.
"""

import json
import sys
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

CHART = Path(__file__).parent.parent / "deploy" / "helm" / "modelrunner"
VERSIONS = ("1.25", "1.31", "1.37")  # the oldest that the chart takes, and the newest there is a schema of
FOREIGN = {"ServiceMonitor"}  # of Prometheus' operator, not of Kubernetes


def render(values: dict[str, object]) -> list[dict[str, object]]:
    """Render the chart and parse what comes out."""
    with helm_python.Chart.load(str(CHART)) as chart:
        rendered = chart.render(values, name="demo", namespace="prod")
    texts = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def main() -> int:
    try:
        documents = render(json.load(sys.stdin))
        for document in documents:
            for version in VERSIONS if document["kind"] not in FOREIGN else ():
                kubernetes_validate.validate(document, version, strict=True)
    except (helm_python.HelmError, kubernetes_validate.ValidationError) as exc:
        print(exc, file=sys.stderr)
        return 1
    json.dump(documents, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
