"""Made-up artifacts for tests: any layers under any types, as blobs in a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelrunner.models import kinds
from modelrunner.models.config import ModelConfig, config_v01, go_json, parse_config
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest

Layer = tuple[str, str | None, bytes]


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Makes artifacts of any layers in a folder of blobs, also such as no tool would make."""

    folder: Path

    def blob(self, data: bytes) -> Digest:
        """Write a blob and name it."""
        digest = Digest.of(data)
        self.path(digest).write_bytes(data)
        return digest

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.folder / digest.hex

    def make(
        self,
        layers: Sequence[Layer],
        *,
        config_type: str = kinds.CONFIG_V01,
        config: ModelConfig | bytes = b"{}",
        artifact_type: str | None = None,
    ) -> tuple[Manifest, ModelConfig]:
        """Write an artifact whose layers are given as media type, path annotation and content."""
        raw_config = config_v01(config, []) if isinstance(config, ModelConfig) else config
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self._descriptor(config_type, raw_config),
            "layers": [
                {
                    **self._descriptor(media_type, data),
                    "annotations": {} if name is None else {kinds.FILEPATH: name},
                }
                for media_type, name, data in layers
            ],
        }
        return parse_manifest(go_json(document)), parse_config(raw_config, config_type)

    def _descriptor(self, media_type: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "size": len(data), "digest": str(self.blob(data))}
