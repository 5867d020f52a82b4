"""Pictures that the nodes show: readable in the host's dark theme at the width of a node.

    sheet.py      a page measured in points, its texts, and the picture that comes of it
    panel.py      axes for noise levels and for step sizes
    schedules.py  noise levels over steps, and the size of every step
    errors.py     the same levels beside the measured errors, ranked
    side_by_side.py decoded images side by side, each under its name; pictures below each other
    small_curve.py the small curve that is shown while a node works
    curves.py     which curves the plot of an optimisation shows
    picture_file.py the picture under a node, a file of the host

matplotlib is imported when the first picture is drawn: a host without these nodes in its workflow
never pays for it. Its Agg canvas is used by name, so no window, notebook or setting matters.
"""

from .errors import plot_errors
from .schedules import plot_schedules
from .side_by_side import BLANK, below, picture_row
from .small_curve import preview_curve

__all__ = ["BLANK", "below", "picture_row", "plot_errors", "plot_schedules", "preview_curve"]
