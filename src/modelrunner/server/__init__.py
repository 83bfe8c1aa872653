"""The daemon: HTTP on the outside, every other package on the inside."""
