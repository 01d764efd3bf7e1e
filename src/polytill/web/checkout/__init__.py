"""The pages of payers: checkout and payment links."""
