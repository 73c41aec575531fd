"""What the doctor looks at: settings, accounts, servers, and whether they keep what they promise."""
