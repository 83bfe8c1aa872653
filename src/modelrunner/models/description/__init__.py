"""What a model says of itself: names, kinds, formats, configuration, and the files that belong together."""
