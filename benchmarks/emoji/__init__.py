"""Small denoiser of emoji, 32 x 32, in colour."""
