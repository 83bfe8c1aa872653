"""Names, digests, manifests and the distribution protocol of OCI; knows nothing of models."""
