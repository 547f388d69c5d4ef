"""Experts: finding, training and safely loading SB3 and sb3-contrib agents."""
