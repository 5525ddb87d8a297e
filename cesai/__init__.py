"""CESAI hub: one place that coordinates national compute for sovereign AI models."""
