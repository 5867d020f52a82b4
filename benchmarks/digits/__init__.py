"""A class-conditional denoiser learnt from scikit-learn's 8 x 8 digits: a model of real data."""
