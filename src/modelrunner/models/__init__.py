"""What a model is: formats, configuration, packaging and the directory an engine is pointed at."""
