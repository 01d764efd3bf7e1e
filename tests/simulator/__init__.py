"""The simulator is compared with the providers' own SDKs, samples and rules."""
