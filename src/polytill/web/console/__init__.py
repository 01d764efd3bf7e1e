"""The pages of signed-in people: a practice's and the owner's."""
