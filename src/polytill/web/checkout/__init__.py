"""The customer's pages: checkout, payment links and receipts."""
