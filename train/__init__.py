"""The commands: each reads arguments, calls the library and writes a run folder."""
