"""The tests of polytill."""
