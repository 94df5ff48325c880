"""The one exception that users see: a sentence with what is wrong, where, and what to do."""


class CardiacSegError(Exception):
    """Something the user can mend; its text is one sentence that names the file or value and the remedy."""
