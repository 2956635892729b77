"""Where edits are kept: the outbox that accepts them, the engines that commit them."""
