"""The proof of durability: recorded crashes, errors, damage and kills (``bench verify``)."""
