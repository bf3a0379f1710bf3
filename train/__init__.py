"""The commands: each reads arguments, calls the library and writes a run folder."""

from ser_hf.utils.threads import limit_threads

limit_threads()  # before any command imports a numerical library
