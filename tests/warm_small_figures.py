"""Every figure becomes a picture of one pixel: not what is drawn matters, but where it goes."""

import small_figures
from matplotlib.figure import Figure

Figure.savefig = small_figures.savefig
