"""Studies that write `reports/`: the leaderboard, the search for a recipe, robustness, probes and speed."""

from ser_hf.utils.threads import limit_threads

limit_threads()  # before numerical libraries are imported
