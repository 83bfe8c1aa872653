"""Blocking client of our HTTP API, for the command line."""

from modelrunner.client.answers import CallPart, Message, Piece, Usage
from modelrunner.client.api import Client
from modelrunner.client.openai import OpenAIServer
from modelrunner.client.transport import Address, Tls

__all__ = ["Address", "CallPart", "Client", "Message", "OpenAIServer", "Piece", "Tls", "Usage"]
