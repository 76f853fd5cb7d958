"""How many sentences ``--non-finite omit`` left out, as a sentence."""

from gpu_smds import ScoreMap


def said_of_left_out(count: int, of: str) -> list[str]:
    """That sentences were left out at all sites alike, of what; nothing where none were."""
    if not count:
        return []
    sentences = "1 sentence is" if count == 1 else f"{count} sentences are"
    return [f"{sentences} left out of {of} at all sites, since some states are not finite"]


def said_of_omitted(scores: ScoreMap) -> list[str]:
    """Nothing where no sentences may be left out; else how many were, and at how many sites."""
    if scores.omitted is None:
        return []
    counts = scores.omitted[scores.omitted > 0]
    if not counts.size:
        return ["no sentences left out: all states are finite"]
    least, most = int(counts.min()), int(counts.max())
    count = f"{most}" if least == most else f"{least} to {most}"
    sentences = "sentence" if most == 1 else "sentences"
    sites = "1 site" if counts.size == 1 else f"{counts.size} sites"
    return [f"{count} {sentences} left out at {sites}, whose states are not finite"]
