"""Checks a commit's message: `python hooks/commit_message.py FILE`, which git calls where `make install` has been."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72
# What git or a rebase writes itself.
OF_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
SCISSORS = "# ------------------------ >8 ------------------------"
NO_VERBS = {"a", "an", "the", "this", "that", "it", "no", "not", "all", "some", "more", "two", "of", "for", "in", "and"}


def problems(message: str) -> list[str]:
    """What is wrong with a message, one line each: the subject is an imperative, the body says why."""
    lines = [line.rstrip() for line in message.partition(SCISSORS)[0].splitlines() if not line.startswith("#")]
    subject, *rest = "\n".join(lines).strip().splitlines() or [""]
    if subject.startswith(OF_GIT):
        return []
    found = []
    if not _is_imperative(subject):
        found.append(f'subject: got "{subject}", expected an imperative, such as "Add the pairs rule"')
    if len(subject) > LONGEST:
        found.append(f"subject: got {len(subject)} characters, expected at most {LONGEST}")
    if subject.endswith("."):
        found.append("subject: got a full stop at its end, expected none")
    if rest and rest[0]:
        found.append(f'second line: got "{rest[0]}", expected an empty one between subject and body')
    if not any(rest):
        found.append("body: got none, expected why the change is made")
    return found


def _is_imperative(subject: str) -> bool:
    """Whether the first word can be one: no article, and no verb or noun with an ending."""
    first = re.match(r"([A-Z][a-z-]+) ", subject)
    if first is None:
        return False
    word = first[1].lower()
    ended = word.endswith(("ed", "ing")) and word not in ("bring", "embed", "feed", "need", "seed", "shed", "speed")
    several = word.endswith("s") and not word.endswith(("ss", "us", "as"))
    return word not in NO_VERBS and not ended and not several


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(bool(wrong))
