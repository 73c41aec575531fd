"""A small shop: products with a stock, orders with items, and handlers that keep the two together."""
