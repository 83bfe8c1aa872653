"""The models that are here or elsewhere, as the dialects show them."""
