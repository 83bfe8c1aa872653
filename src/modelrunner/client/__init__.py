"""Blocking client of our HTTP API, for the command line."""

from modelrunner.client.api import Client
from modelrunner.client.streams import Message, Piece, Usage
from modelrunner.client.transport import Address, Tls

__all__ = ["Address", "Client", "Message", "Piece", "Tls", "Usage"]
