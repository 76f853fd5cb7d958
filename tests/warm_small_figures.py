"""Every figure becomes a picture of one pixel: not what is drawn matters, but where it goes."""

from io import BytesIO

import small_figures

import experiments.figures
import experiments.reports.discovery
import experiments.reports.drawing
import experiments.reports.significance
import experiments.reports.transfer
from gpu_smds._files import SOFTWARE, File, is_our_picture

_reports = experiments.reports


def _draw(path, *arguments, **more):
    picture = BytesIO()
    small_figures.savefig(None, picture, {"Software": SOFTWARE})
    File.of(path).write(picture.getvalue(), is_our_picture)


for _module in (
    experiments.figures,
    *(_reports.drawing, _reports.discovery, _reports.significance, _reports.transfer),
):
    for _name, _value in list(vars(_module).items()):
        of_figures = str(getattr(_value, "__module__", "")).startswith("experiments.figures.")
        if of_figures and getattr(_value, "__name__", "").startswith("draw_"):
            setattr(_module, _name, _draw)
