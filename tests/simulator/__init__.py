"""The simulator is held to the providers' own SDKs, samples and rules."""
