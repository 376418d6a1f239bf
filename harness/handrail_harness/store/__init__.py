"""Where exported spans are kept: raw log first, index behind it (DESIGN D12)."""
