"""The closed set of reasons as a table, from the one that answers are made of."""

from aegis.reasons import ANSWERS


def table() -> str:
    """One row a reason: what the client gets, whose fault it is, what becomes of the connection."""
    rows = ["| reason | status | error text | blame | connection |", "|---|---|---|---|---|"]
    for reason, answer in ANSWERS.items():
        known = reason.value != "ok"
        rows.append(
            f"| [`{reason}`](#{reason}) | {answer.status if known else 'the backend’s'} | {answer.text or '–'}"
            f" | {answer.blame.value} | {'closed' if answer.close else 'kept'} |"
        )
    return "\n".join(rows)
