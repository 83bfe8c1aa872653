"""The runner in a container: what it is to be, and a Docker Engine that makes it so."""
