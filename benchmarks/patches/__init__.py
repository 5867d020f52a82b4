"""Small denoiser of colour photographs, 32 x 32."""
