"""Bringing a restored practice's database up to date, so that the practice takes payments again."""
