"""The team's fixtures, for this folder."""

from support.team_fixtures import anna, bert, storage, team

__all__ = ["anna", "bert", "storage", "team"]
