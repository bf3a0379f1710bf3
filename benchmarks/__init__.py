"""How fast it is, and how much memory it takes, beside what people would use in its place: ``make bench``."""

from ser_hf.threads import limit_threads

limit_threads()  # before numerical libraries are imported
