"""Why a site has no score, in words."""

from gpu_smds import Status


def test_every_status_is_explained():
    said = [status.explanation for status in Status]
    assert len(set(said)) == len(Status)
    for explanation in said:
        assert explanation.endswith(".")
        assert "\n" not in explanation
