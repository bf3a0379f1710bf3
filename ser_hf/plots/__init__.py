"""Figures for reports, cards and the demo; each function returns a matplotlib `Figure`, `save` writes it.

Only matplotlib's object API is used, because pyplot's global state is not safe in a server's threads. Figures have an
opaque background, so that they read the same on a white and on a dark page.
"""

from ser_hf.plots.run import confusion_matrix, per_speaker, reliability, save_run_plots
from ser_hf.plots.runs import comparison, condition_curves, coverage_curves, generalisation, speaker_spread
from ser_hf.plots.style import save

__all__ = [
    "comparison",
    "condition_curves",
    "confusion_matrix",
    "coverage_curves",
    "generalisation",
    "per_speaker",
    "reliability",
    "save",
    "save_run_plots",
    "speaker_spread",
]
