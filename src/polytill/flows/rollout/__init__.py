"""The gradual rollout: phases, the field and polytill's configurations in sync, comparison with the old code."""
