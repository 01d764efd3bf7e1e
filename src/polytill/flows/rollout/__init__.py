"""The gradual rollout: phases, the field and our configurations in step, comparison with the old code."""
