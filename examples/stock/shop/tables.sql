-- In Paidonce's database: a handler writes in Paidonce's transaction. Another schema would do as well.
CREATE TABLE IF NOT EXISTS products (
    sku text PRIMARY KEY,
    stock int NOT NULL CHECK (stock >= 0)
);

CREATE TABLE IF NOT EXISTS order_items (
    account text NOT NULL,
    order_no text NOT NULL,
    sku text NOT NULL REFERENCES products,
    pieces int NOT NULL CHECK (pieces > 0),
    PRIMARY KEY (account, order_no, sku)
);

-- What left the stock (negative) and what came back. No unique key: nothing here would stop a second booking.
CREATE TABLE IF NOT EXISTS stock_moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    account text NOT NULL,
    order_no text NOT NULL,
    sku text NOT NULL,
    pieces int NOT NULL,
    because text NOT NULL
);

INSERT INTO products VALUES ('cup', 1000), ('kettle', 1000), ('teapot', 1000), ('grail', 3) ON CONFLICT DO NOTHING;
