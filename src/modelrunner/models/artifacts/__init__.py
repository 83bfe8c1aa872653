"""Files become artifacts, and artifacts become variants of themselves."""
