"""Load a pretrained DDPM (the prior), and run windows of its chain of noise levels."""
