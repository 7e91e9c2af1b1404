"""Pictures of poses, galleries and plots."""
