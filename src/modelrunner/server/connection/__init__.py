"""What a connection of a client carries: bytes, TLS, who may ask, bodies, replies, progress, its end."""
