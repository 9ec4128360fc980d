"""What the tests share: small networks, data and tickets, broken disks and servers, the command line."""
