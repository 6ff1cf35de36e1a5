"""Trains the same pairs with this program, TRL and EasyDeL side by side; `make bench`. See README.md here."""
