"""One test for each fault that reviewers, bug reports and referees found; `docs/regressions.md` lists them."""
