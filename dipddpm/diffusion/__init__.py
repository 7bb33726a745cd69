"""A pretrained DDPM, its noise levels, and windows of its chain."""
