"""Power laws and other curves through a budget curve, and draws of them."""
