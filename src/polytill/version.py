"""The version of this package, apart from its public names so that every package can read it."""

VERSION = "0.1.0"
