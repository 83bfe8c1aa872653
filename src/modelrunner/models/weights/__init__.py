"""Headers of files of weights, read without trusting a length, a count or an offset in them."""
