"""The engine: the one `ti.init`, random numbers and draws, launches, and what is kept between frames and between runs.

Nothing here knows of tissue or light. Whatever changes in this room may change the bytes of every picture.
"""
