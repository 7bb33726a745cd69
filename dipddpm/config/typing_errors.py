"""Turn omegaconf's errors about values of the wrong type, which have several lines, into one. Imports no torch."""

from __future__ import annotations

import re

from dipddpm.errors import suggestion

KINDS = {  # the wanted kind of value, by the words of omegaconf's error
    "could not be converted to Integer": "a whole number",
    "could not be converted to Float": "a number",
    "is not a valid bool": "true or false",
    "Incompatible value 'None' for field of type 'int'": "a whole number",
    "Incompatible value 'None' for field of type 'float'": "a number",
    "Incompatible value 'None' for field of type 'bool'": "true or false",
    "Incompatible value 'None' for field of type 'str'": "a text",
    "is not a ListConfig, list or tuple": "a list in brackets",
    "is not Optional": "a value other than null",
}
CHOICE = re.compile(r"Invalid value '(.*)', expected one of \[(.*)\]")
VALUE = re.compile(r"(?:Value|Incompatible value) '(.*?)'(?: of type| is not| could| for field)")


def one_line(error: BaseException) -> str:
    """Return the key that an omegaconf error is about, and the first line of the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key")), "")
    text = lines[0] if lines else type(error).__name__
    return f"{key}: {text}" if key and key not in text else text


def refusal(error: BaseException) -> str:
    """Return an omegaconf error about a value as ``key=value is not allowed: a number``; other errors as `one_line`."""
    reason = one_line(error)
    key = reason.partition(":")[0]
    if choice := CHOICE.search(reason):
        return no_choice(f"{key}={choice[1]}", choice)
    kind, value = kind_wanted(reason), VALUE.search(reason)
    if kind and value:
        typed = re.sub(r"\[\d+\]$", "", key)  # of a list the whole is typed
        return f"{key}={'null' if value[1] == 'None' else value[1]} is not allowed: {kind}; type {typed}=<value>"
    return reason


def kind_wanted(reason: str) -> str:
    """Return the kind of value that omegaconf wanted, or the empty string where the error names no kind."""
    return next((kind for said, kind in KINDS.items() if said in reason), "")


def no_choice(given: str, choice: re.Match[str]) -> str:
    """Return the refusal of a word that the key does not take; ``choice`` is a match of `CHOICE`."""
    return f"{given} is not allowed: one of {choice[2]}{suggestion(choice[1], choice[2].split(', '))}"
