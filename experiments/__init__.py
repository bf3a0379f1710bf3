"""Studies that write `reports/`: the leaderboard, the search for a recipe, robustness, probes and speed."""

from ser_hf.threads import limit_threads

limit_threads()  # before numerical libraries are imported
