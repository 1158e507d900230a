"""What growing is compared with: networks trained from scratch, pruned ones, and searched ones."""
