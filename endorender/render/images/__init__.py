"""What callers ask for: pictures and their gradients, the denoiser with its guides, the plain renderer, device checks.

Host code only; kernels live in the rooms below.
"""
