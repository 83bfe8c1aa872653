"""Fakes and harnesses for tests, shipped for authors of engine plug-ins too."""
