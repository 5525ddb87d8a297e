"""What is CESAI hub? One place that coordinates national compute for sovereign AI models."""
