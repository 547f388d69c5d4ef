"""People as demonstrators: recording them, asking them for labels, and letting them take over.

`keys` says what a key means, a `Game` (`play`, `labels`) is what a person does with keys, and a
front end (`window`, `web`, `terminal`) shows a game to a person. None of them knows the others.
"""
