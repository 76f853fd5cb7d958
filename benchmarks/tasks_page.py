"""What was measured of the ready tasks, as a part of ``docs/tasks.md``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.task import Task
from extract.task_files import read_task
from gpu_smds._files import File

PAGE = Path(__file__).parent.parent / "docs" / "tasks.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
#: Two shapes whose scores are closer than this are told apart by nothing here.
_CLOSE = 0.01
#: Shapes of three dimensions, of which figures show two.
_SOLID = ("polytope", "spherical")
_FOUND = ("found", "of")
#: Share of right answers from which on a model is said to know them.
_KNOWN = 0.8


def write_page(facts: Mapping[str, Any]) -> Path:
    """Replace the measured part of the page."""
    file = File.at(PAGE)
    before, _, rest = file.read().decode().partition(_BEGIN)
    after = rest.partition(_END)[2]
    text = f"{before}{_BEGIN}\n{measured(facts)}\n{_END}{after}"
    file.write(text.encode(), lambda head: head.startswith(b"# Ready tasks"))
    return PAGE


def measured(facts: Mapping[str, Any]) -> str:
    """Tables and a part for each task, as Markdown."""
    tasks, size, machine = facts["tasks"], facts["size"], facts["environment"]
    layers = ", ".join(map(str, facts["layers"]))
    total = sum(sum(row["seconds"].values()) for row in tasks.values())
    parts = [
        f"SmolLM2-135M-Instruct, {size['samples']} sentences, layers {layers}, "
        f"{size['permutations']} permutations, {size['questions']} questions; {machine['cpu']}, "
        f"{machine['cores']} cores, {total / 60:.0f} minutes in all{_beside(facts)}. *Published* "
        "is what others found, in larger models and with sentences of their own; the sentences "
        "here are ours.",
        "",
        _in_all(tasks),
        "",
        "| task | published | at the source | at the destination | at the end | "
        "significant from the source on | before it | answers | time |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(name, read_task(name), row) for name, row in tasks.items()),
        "",
        "*At the source* and the others: the shape that scores best, at the layer where it does, "
        "with its held-out score; = marks shapes within 0.01 of it. *Significant*: sites at a "
        "family-wise 5 %, of those that have a score, for the task's own shape. *Answers*: how "
        "often the right one is the likeliest of all answers, and in brackets what always naming "
        "the commonest would reach.",
        "",
        "What this cannot say: every value of a label is among the sentences that a map was fitted "
        "to. It found where each value lies, and that these places have the shape; `--protocol "
        "clean` holds out values, and asks whether unseen ones lie where the shape has them.",
    ]
    for name, row in tasks.items():
        parts += ["", *_part(name, read_task(name), row)]
    return "\n".join(parts)


def _beside(facts: Mapping[str, Any]) -> str:
    """That the machine had more to do, where it had."""
    cores, load = facts["environment"]["cores"], facts["load"]
    if load <= 1.5 * cores:
        return ""
    return f", while other work kept a load of {load:.0f} on them, so that alone it takes far less"


def _in_all(tasks: Mapping[str, Any]) -> str:
    """Sums over all tasks."""
    sums = {
        part: [sum(row["significant"][part][key] for row in tasks.values()) for key in _FOUND]
        for part in ("before", "from_source")
    }
    unknown = [name for name, row in tasks.items() if not known(row["knows"])]
    agreeing = [name for name in tasks if _agrees(read_task(name), tasks[name])]
    asked = [name for name in tasks if read_task(name).published]
    return (
        "Before the word that holds the label {} of {} sites are significant, from it on {} of {}. "
        "Of {} published shapes {} score within {:g} of the best one at the source ({}). The model "
        "does not know the answer to {}: {}."
    ).format(
        *sums["before"],
        *sums["from_source"],
        len(asked),
        len(agreeing),
        _CLOSE,
        ", ".join(agreeing),
        len(unknown),
        ", ".join(unknown),
    )


def _agrees(task: Task, row: Mapping[str, Any]) -> bool:
    """Whether the published shape, or the same in all its dimensions, is as good as the best."""
    return task.published is not None and _published_here(task, row) in _close(
        row["winners"]["source"]
    )


def _published_here(task: Task, row: Mapping[str, Any]) -> str:
    """The shape that stands for the published one."""
    assert task.published is not None
    winner = task.published.winner
    solid = winner == "cluster" and "polytope" in row["winners"]["source"]["scores"]
    return "polytope" if solid else winner


def _row(name: str, task: Task, row: Mapping[str, Any]) -> str:
    significant, knows = row["significant"], row["knows"]
    cells = [
        f"[{name}](#{name})",
        task.published.winner if task.published else "–",
        *(_shape(row["winners"][place]) for place in ("source", "destination", "last")),
        _share(significant["from_source"]),
        _share(significant["before"]),
        f"{_percent(knows['accuracy'])} ({_percent(knows['guess'])})",
        f"{sum(row['seconds'].values()):.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _shape(found: Mapping[str, Any]) -> str:
    """The winner of a place with its score, and those that come as close."""
    if found["winner"] is None:
        return "none"
    score = found["scores"][found["winner"]]
    close = [shape for shape in _close(found) if shape != found["winner"]]
    return " = ".join([f"{found['winner']} {score:.2f}", *close])


def _close(found: Mapping[str, Any]) -> list[str]:
    """Shapes whose score cannot be told from the winner's."""
    if found["winner"] is None:
        return []
    best = found["scores"][found["winner"]]
    scores = found["scores"].items()
    return [shape for shape, score in scores if score is not None and score > best - _CLOSE]


def _part(name: str, task: Task, row: Mapping[str, Any]) -> list[str]:
    """One task: sentence, figure, and what to make of it."""
    return [
        f"### {name}",
        "",
        f"{task.title}. *{task.prompts(1).texts[0]}*",
        "",
        f"![Held-out projections of {name}](images/tasks/{name}.png)",
        "",
        f"A third of the sentences, projected by a map of the others onto the {task.manifold} "
        f"shape{'; two of its three dimensions' if task.manifold in _SOLID else ''}.",
        "",
        " ".join([_published(task, row), _tested(task, row), _known(row)]),
    ]


def _published(task: Task, row: Mapping[str, Any]) -> str:
    ours = row["winners"]["source"]
    if task.published is None:
        return f"Nobody is known to us to have published a shape; here {ours['winner']} is best."
    winner = _published_here(task, row)
    told = f"Published: {task.published.winner} – {task.published.reference}."
    if winner != task.published.winner:
        told += (
            " Four equal clusters are the corners of a tetrahedron, which takes three dimensions: "
            "that is polytope here, while cluster keeps two."
        )
    score = ours["scores"].get(winner)
    if winner == ours["winner"]:
        return f"{told} Here it wins at {ours['word']}, too."
    if score is None:
        return f"{told} Here it has no score at {ours['word']}, where {ours['winner']} wins."
    best = ours["scores"][ours["winner"]] if ours["winner"] else float("nan")
    if winner in _close(ours):
        return (
            f"{told} Here {ours['winner']} is ahead by less than {_CLOSE:g} ({best:.3f} against "
            f"{score:.3f})."
        )
    return (
        f"{told} Here {ours['winner']} scores {best:.2f} at {ours['word']}, and {winner} "
        f"{score:.2f}."
    )


def _tested(task: Task, row: Mapping[str, Any]) -> str:
    found = row["significant"]
    before, later = found["before"], found["from_source"]
    return (
        f"The {task.manifold} shape is significant at {later['found']} of {later['of']} sites from "
        f"{row['winners']['source']['word']} on and at {before['found']} of {before['of']} before "
        f"it. From there on {_wins(row)}."
    )


def _wins(row: Mapping[str, Any]) -> str:
    """Which shapes win at most sites."""
    share = sorted(row["winners"]["share"].items(), key=lambda of: -of[1])
    (first, most), *others = [(shape, _percent(part)) for shape, part in share[:2] if part]
    return f"{first} wins at {most}" + "".join(f" and {shape} at {part}" for shape, part in others)


def _known(row: Mapping[str, Any]) -> str:
    knows = row["knows"]
    asked = f"“{knows['example']}” – the right one of {knows['answers']} answers is likeliest"
    share = (
        f"in {_percent(knows['accuracy'])} of {knows['sentences']} questions, and what the model "
        f"says of itself in {_percent(knows['greedy'])}"
    )
    if known(knows):
        knowing = (
            "the model knows it" if knows["accuracy"] >= _KNOWN else "it knows more than chance"
        )
        return f"{asked} {share}: {knowing}."
    return (
        f"{asked} {share}; always naming the commonest would reach {_percent(knows['guess'])}: "
        "**SmolLM2 does not know the answer**, so that a shape found here is that of the words it "
        "read, not of something it can tell."
    )


def known(row: Mapping[str, Any]) -> bool:
    """Whether answers are better than always naming the commonest one, by two standard errors."""
    guess, n = row["guess"], row["sentences"]
    return bool(row["accuracy"] > guess + 2 * (guess * (1 - guess) / n) ** 0.5)


def _share(found: Mapping[str, int]) -> str:
    return f"{found['found']} of {found['of']}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
